internal import Primitives

/// How to replace the header cluster of an image so that a crash leaves the old or the new one.
///
/// Perform `steps` in order and flush after each. Where the header and its extensions fit into 512
/// bytes, which a disk writes whole or not at all, the last step is that sector and nothing else
/// matters: a backing file's name that lies behind it was written to a place that the old header
/// does not use, and flushed. Feature names that do not fit are dropped.
public struct HeaderRewrite: Hashable, Sendable {
  /// Bytes to be written at one place of the file.
  public struct Step: Hashable, Sendable {
    /// The place.
    public let offset: HostOffset
    /// The bytes.
    public let bytes: [UInt8]
  }

  /// What to write, one flush after each.
  public let steps: [Step]
  /// Whether a crash between or during the steps leaves the old or the new header, never a mixture.
  ///
  /// False when extensions do not fit into the first sector, or the cluster is full.
  public let isAtomic: Bool

  static let sectorSize = 512
}

extension HeaderCluster {
  /// Plans how to write this header over that of `old`, the header cluster as it is on disk.
  ///
  /// Throws `.noSpace` when header, extensions and name do not fit into a cluster.
  public func rewrite(replacing old: RawSpan) throws(Qcow2FormatError) -> HeaderRewrite {
    precondition(old.byteCount == header.clusterSize, "the old header is one cluster")
    #if !MUTANT_HEADER_REWRITTEN_WHOLE
    if let plan = rewriteOfFirstSector(replacing: old) { return plan }
    #endif
    let cluster = try serialize()
    let sector = HeaderRewrite.sectorSize
    let head = HeaderRewrite.Step(offset: .zero, bytes: Array(cluster.prefix(sector)))
    guard cluster.count > sector else { return HeaderRewrite(steps: [head], isAtomic: true) }
    let tail = HeaderRewrite.Step(
      offset: HostOffset(sector), bytes: Array(cluster.dropFirst(sector)))
    return HeaderRewrite(steps: [tail, head], isAtomic: false)
  }

  /// The plan whose last step is the first sector; nil when that cannot hold the extensions, or
  /// the name has no place.
  private func rewriteOfFirstSector(replacing old: RawSpan) -> HeaderRewrite? {
    let sector = HeaderRewrite.sectorSize
    let room = sector - header.byteCount
    guard room >= 0, let extensionBytes = try? extensionBytes(room: room) else { return nil }
    let name = backingFileName?.bytes ?? []
    let end = header.byteCount + extensionBytes.count
    let isInside = end + name.count <= sector
    let start = isInside ? end : HeaderOccupation(old).place(for: name, in: old)
    guard let start else { return nil }
    let range = ByteRange(offset: start, count: name.count)
    var head = headerBytes(nameRange: range) + extensionBytes
    if isInside { head += name }
    head += [UInt8](repeating: 0, count: sector - head.count)
    var steps = [HeaderRewrite.Step(offset: .zero, bytes: head)]
    if !isInside, !old.slice(range).elementsEqual(name.span.bytes) {
      steps.insert(HeaderRewrite.Step(offset: HostOffset(start), bytes: name), at: 0)
    }
    return HeaderRewrite(steps: steps, isAtomic: true)
  }
}

/// Which bytes of a header cluster behind its first sector are in use.
private struct HeaderOccupation {
  /// The end of the extensions, at least 512; the cluster's end when they are malformed.
  private var extensionsEnd: Int
  private var nameRange: ByteRange

  init(_ cluster: RawSpan) {
    let fields = HeaderFields(cluster)
    let nameStart = Int(clamping: fields.backingNameOffset)
    let whole = ByteRange(0, cluster.byteCount)
    let name = ByteRange(checkedOffset: nameStart, count: Int(fields.backingNameSize))
    nameRange = name.flatMap { whole.contains($0) ? $0 : nil } ?? whole
    extensionsEnd = cluster.byteCount
    let length = Int(fields.headerLength)
    let limit = nameStart == 0 ? cluster.byteCount : nameStart
    guard length <= limit, limit <= cluster.byteCount else { return }
    var walk = HeaderExtensionWalk(range: ByteRange(length, limit))
    var end = length
    do throws(Qcow2FormatError) {
      while let (_, body) = try walk.next(in: cluster) { end = body.upper.roundedUp(to: 8) }
      extensionsEnd = max(end + HeaderExtension.prefixByteCount, HeaderRewrite.sectorSize)
    } catch {
      // Malformed: the whole cluster counts as used.
    }
  }

  /// Where `name` may be written without touching what the header on disk uses; the place where it
  /// stands already, if it does.
  ///
  /// Nil when there is none.
  func place(for name: [UInt8], in cluster: RawSpan) -> Int? {
    let isBehindSector = nameRange.lower >= HeaderRewrite.sectorSize
    if isBehindSector, cluster.slice(nameRange).elementsEqual(name.span.bytes) {
      return nameRange.lower
    }
    let candidates = [extensionsEnd, max(extensionsEnd, nameRange.upper).roundedUp(to: 8)]
    return candidates.first { start in
      guard let range = ByteRange(checkedOffset: start, count: name.count) else { return false }
      return range.upper <= cluster.byteCount && !range.overlaps(nameRange)
    }
  }
}
