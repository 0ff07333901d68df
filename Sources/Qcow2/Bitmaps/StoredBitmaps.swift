internal import BlockLayer
internal import Primitives
internal import Synchronization

/// The bitmaps of the image as they are on disk, guarded by the driver's lock for them.
///
/// On disk a bitmap is in one of these states; the edges are the functions that write them:
///
///     ── storeBitmaps ──→ stored ── claimBitmaps ──→ in use ── storeBitmaps ──→ stored
///                           │                          │
///                           └── removeStoredBitmap ──→ gone ←──┘
///
/// *Stored*: the bits in the image are right, because nothing has been written since. *In use*:
/// some writer is, or was when it died, keeping the bits in memory; whoever reads the image then
/// knows that the bits there are worthless. Every switch is one write to the header's first
/// sector, or, for a claim, of flags only.
///
/// Invariants
/// 1. Before the first change of the image by a writer every bitmap in it is in use, durably.
/// 2. What a new directory names (tables, bits, refcounts) is durable before the header names it.
struct StoredBitmaps: Sendable {
  /// The entries of the directory, in its order; nil until it was read.
  var entries: [BitmapDirectoryEntry]?
}

extension Qcow2Driver {
  /// The directory's entries, read when first asked for.
  ///
  /// Throws what is wrong with the directory.
  func directoryEntries() async throws(BlockError) -> [BitmapDirectoryEntry] {
    if let known = storedBitmaps.withLock({ $0.entries }) { return known }
    let header = tables.withLock { $0.header }
    var entries: [BitmapDirectoryEntry] = []
    if let place = header.extensions.bitmaps {
      guard let range = place.directoryRange, range.lower < file.node.length else {
        throw BlockError(
          .invalidImage, "the bitmap directory is outside the file: the image is truncated")
      }
      var buffer = IOBuffer(byteCount: range.count)
      var bytes = buffer.mutableBytes
      try await file.node.read(range, into: &bytes)
      let directory = bytes.bytes
      entries = try parsing { () throws(Qcow2FormatError) in
        try BitmapDirectory.parse(
          directory, bitmapCount: place.bitmapCount, geometry: geometry, virtualSize: length)
      }
    }
    storedBitmaps.withLock { $0.entries = entries }
    return entries
  }

  /// Marks the image's bitmaps in use, durably: only flags change, each within one sector, so that
  /// a crash leaves each bitmap stored or in use.
  ///
  /// The caller holds `commitLock`.
  func claimBitmaps() async throws(BlockError) {
    var entries = try await directoryEntries()
    guard entries.contains(where: { !$0.flags.contains(.inUse) }) else { return }
    for index in entries.indices { entries[index].flags.insert(.inUse) }
    guard let place = tables.withLock({ $0.header.extensions.bitmaps }) else { return }
    let claimed = entries
    let bytes = try parsing { () throws(Qcow2FormatError) in
      try BitmapDirectory.serialize(claimed)
    }
    try await file.node.write(
      ByteRange(offset: place.directoryOffset.value, count: bytes.count), from: bytes.span.bytes)
    try await flushFile()
    storedBitmaps.withLock { $0.entries = claimed }
  }

  /// Puts a new directory in place of the old one, by one atomic write of the header, and gives
  /// back the clusters of everything that it no longer names.
  ///
  /// The caller holds `commitLock` and has written what the new entries name.
  func switchDirectory(to entries: [BitmapDirectoryEntry]) async throws(BlockError) {
    let old = try await directoryEntries()
    let oldPlace = tables.withLock { $0.header.extensions.bitmaps }
    let place = try await writeDirectory(entries)
    do throws(BlockError) {
      // Refcounts, tables and bits are durable before the header names them.
      try await commit()
      try await rewriteHeader { cluster in
        cluster.extensions.bitmaps = place
        cluster.extensions.bitmapsDefect = nil
        if place == nil {
          cluster.header.autoclearFeatures.remove(.bitmaps)
        } else {
          cluster.header.autoclearFeatures.insert(.bitmaps)
        }
      }
    } catch {
      if let place, tables.withLock({ $0.header.extensions.bitmaps }) != place {
        try? await releaseClusters(place.directoryRange)
      }
      throw error
    }
    storedBitmaps.withLock { $0.entries = entries }
    // The switch is made, whatever fails now: what nothing names any more leaks, and a check tells.
    try? await releaseClusters(oldPlace?.directoryRange)
    let kept = Set(entries.map(\.tableOffset))
    for entry in old where !kept.contains(entry.tableOffset) { try? await release(entry) }
  }

  private func writeDirectory(_ entries: [BitmapDirectoryEntry]) async throws(BlockError)
    -> BitmapExtension?
  {
    if entries.isEmpty { return nil }
    let bytes = try parsing { () throws(Qcow2FormatError) in
      try BitmapDirectory.serialize(entries)
    }
    let offset = try await writeMetadata(bytes, as: .bitmapDirectory)
    return BitmapExtension(
      bitmapCount: entries.count, directoryByteCount: bytes.count, directoryOffset: offset)
  }

  /// Writes `bytes` to new clusters that follow each other, padded with zeros.
  func writeMetadata(
    _ bytes: [UInt8], as owner: MetadataOwner
  ) async throws(BlockError) -> HostOffset {
    let count = geometry.clusterCount(forBytes: bytes.count)
    let place = try await allocate(count, minimum: count)
    let offset = place.first << geometry.clusterBits
    do throws(BlockError) {
      let padding = (count << geometry.clusterBits) - bytes.count
      let whole = bytes + [UInt8](repeating: 0, count: padding)
      try await file.node.write(
        ByteRange(offset: offset, count: whole.count), from: whole.span.bytes)
    } catch {
      try? await giveBack(place.first, count)
      throw error
    }
    tables.withLock { tables in
      tables.metadataClusters.insert(place.first..<place.first + count, as: owner)
    }
    return HostOffset(offset)
  }

  /// Gives back the clusters of a bitmap's table and bits, to which nothing refers any more.
  func release(_ entry: BitmapDirectoryEntry) async throws(BlockError) {
    for value in try await Self.readTable(entry.tableRange, of: file.node) {
      guard case .data(let offset) = BitmapTableEntry(rawValue: value).kind(geometry: geometry)
      else { continue }
      let cluster = offset.value >> geometry.clusterBits
      // A damaged table may name other metadata, which stays what it is.
      switch tables.withLock({ $0.metadataClusters[cluster] }) {
      case nil, .bitmapData: try await giveBack(cluster, 1)
      default: continue
      }
    }
    try await releaseClusters(entry.tableRange)
  }

  func releaseClusters(_ range: ByteRange?) async throws(BlockError) {
    guard let range, !range.isEmpty else { return }
    let clusters = geometry.clusters(touchedBy: range)
    try await giveBack(
      clusters.lowerBound.value, clusters.upperBound.value - clusters.lowerBound.value)
  }
}
