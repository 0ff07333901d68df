internal import Primitives

/// How much space a new image takes in its file, in bytes.
public struct ImageFootprint: Hashable, Sendable {
  /// Header, tables and refcounts of the image when the guest has written everything.
  public let metadata: Int
  /// The guest's disk in whole clusters.
  public let clusters: Int

  /// The file's size when the guest has written everything.
  public var fullyAllocated: Int { metadata + clusters }

  /// The file's size when the guest has written `dataByteCount` bytes, in whole clusters.
  public func required(dataByteCount: Int) -> Int { metadata + dataByteCount }
}

extension NewImageOptions {
  /// Counts the clusters of an image of a disk of `length` bytes, as QEMU does.
  ///
  /// Throws, with QEMU's text, for one that is too large.
  public func footprint(length: Int) throws(Qcow2FormatError) -> ImageFootprint {
    var options = self
    options.virtualSize = 0
    let geometry = try options.geometry()
    let clusterSize = geometry.clusterSize
    guard length >= 0, length <= geometry.maximumVirtualSize,
      let clusters = length.checkedRoundedUp(to: clusterSize)
    else {
      throw Qcow2FormatError(
        .tooLarge, "The image size is too large (try using a larger cluster size)")
    }
    var metadata = clusterSize  // the header
    let l2Entries = (clusters / clusterSize).roundedUp(to: geometry.l2EntriesPerTable)
    metadata += l2Entries * geometry.l2EntryByteCount
    let l2Tables = l2Entries / geometry.l2EntriesPerTable
    metadata += l2Tables.roundedUp(to: geometry.tableEntriesPerCluster) * 8
    // Blocks and table count themselves.
    let counted = (metadata + clusters) / clusterSize
    var blocks = 0
    var table = 0
    while true {
      let moreBlocks = (counted + table + blocks).dividedRoundingUp(
        by: geometry.entriesPerRefcountBlock)
      let moreTable = moreBlocks.dividedRoundingUp(by: geometry.tableEntriesPerCluster)
      if moreBlocks == blocks, moreTable == table { break }
      blocks = moreBlocks
      table = moreTable
    }
    return ImageFootprint(
      metadata: metadata + (blocks + table) * clusterSize, clusters: clusters)
  }

  /// What persistent bitmaps of a disk of `length` bytes take in the image, in whole clusters: the
  /// bits, a table each, and the directory.
  public func bitmapByteCount(
    _ bitmaps: [(nameByteCount: Int, granularity: Int)], length: Int
  ) throws(Qcow2FormatError) -> Int {
    var options = self
    options.virtualSize = 0
    let geometry = try options.geometry()
    var clusters = 0
    var directory = 0
    for bitmap in bitmaps {
      let sizes = BitmapSizes(
        virtualSize: length, granularityBits: bitmap.granularity.trailingZeroBitCount)
      let data = sizes.tableEntryCount(geometry: geometry)
      clusters += data + geometry.clusterCount(forBytes: data * 8)
      directory += (24 + bitmap.nameByteCount).roundedUp(to: 8)
    }
    return (clusters + geometry.clusterCount(forBytes: directory)) * geometry.clusterSize
  }
}
