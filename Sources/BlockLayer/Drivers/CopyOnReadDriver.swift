internal import Execution
public import Primitives

/// A filter that keeps in an image what was read from its backing file: QEMU's `copy-on-read`.
///
/// A read of clusters that the image has not itself copies them whole, from the chain below into
/// the image; they are read from there the next time. No guest's write comes between.
public final class CopyOnReadDriver: BlockDriver {
  /// Always `copy-on-read`.
  public var driverName: String { "copy-on-read" }
  /// It shows the node below.
  public var isFilter: Bool { true }
  /// The image.
  public let children: [BlockEdge]

  private let image: BlockEdge
  private let clusterSize: Int
  /// Clusters that are copied are held alone, those that guests write together.
  private let clusters = RangeLock()

  /// Makes the filter over `image`, which must be writable.
  public init(image: BlockNode) throws(BlockError) {
    guard !image.isReadOnly else {
      throw BlockError(.readOnly, "Can't use copy-on-read on read-only device", node: image.name)
    }
    self.image = try BlockEdge(.file, to: image)
    children = [self.image]
    clusterSize = max(image.clusterSize, 4096)
  }

  /// The size of the node below.
  public var length: Int { image.node.length }

  /// Reads, and keeps what the image had not itself.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    var done = 0
    while done < range.count {
      let rest = range.dropFirst(done)
      let run = try await image.node.chainStatus(rest, downTo: image.node)
      let piece = rest.prefix(run.count)
      if !run.status.isAllocated { try await copy(clusters(around: piece)) }
      var part = buffer.slice(ByteRange(offset: done, count: piece.count))
      try await image.node.read(piece, into: &part)
      done += piece.count
    }
  }

  /// Copies the clusters of `range` that the image has not, 1 MiB at a time.
  private func copy(_ range: ByteRange) async throws(BlockError) {
    var rest = range
    while !rest.isEmpty {
      let piece = rest.prefix(max(1 << 20, clusterSize))
      let held = await clusters.lock(piece, .exclusive)
      defer { clusters.unlock(held) }
      try await copyHeld(piece)
      rest = rest.dropFirst(piece.count)
    }
  }

  private func copyHeld(_ range: ByteRange) async throws(BlockError) {
    var rest = range
    while !rest.isEmpty {
      let run = try await image.node.chainStatus(rest, downTo: image.node)
      let piece = rest.prefix(run.count)
      if !run.status.isAllocated {
        var buffer = IOBuffer(byteCount: piece.count)
        var bytes = buffer.mutableBytes
        try await image.node.read(piece, into: &bytes)
        await image.node.raise(.corWrite)
        if bytes.bytes.isZero {
          try await image.node.writeZeroes(piece)
        } else {
          try await image.node.write(piece, from: bytes.bytes)
        }
      }
      rest = rest.dropFirst(piece.count)
    }
  }

  private func clusters(around range: ByteRange) -> ByteRange {
    let upper = range.upper.checkedRoundedUp(to: clusterSize) ?? length
    return ByteRange(range.lower.roundedDown(to: clusterSize), min(upper, length))
  }

  // MARK: - What guests change

  /// Writes.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    let held = await clusters.lock(clusters(around: range), .shared)
    defer { clusters.unlock(held) }
    try await image.node.write(range, from: bytes)
  }

  /// Zeroes.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    let held = await clusters.lock(clusters(around: range), .shared)
    defer { clusters.unlock(held) }
    try await image.node.writeZeroes(range, mayUnmap: mayUnmap)
  }

  /// Discards.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    let held = await clusters.lock(clusters(around: range), .shared)
    defer { clusters.unlock(held) }
    try await image.node.discard(range)
  }

  /// The status of the layer below.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await image.node.layerStatus(range)
  }
}

extension CopyOnReadDriver: ResizableImage {
  /// Resizes the node below.
  public func resize(to length: Int) async throws(BlockError) {
    try await image.node.resize(to: length, mayShrink: true)
  }

  /// Grows the node below.
  public func grow(to length: Int, _ preallocation: Preallocation) async throws(BlockError) {
    try await image.node.resize(to: length, preallocation: preallocation)
  }
}

extension CopyOnReadDriver: CompressingImage {
  /// Writes clusters of the node below compressed.
  public func writeCompressed(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    let held = await clusters.lock(clusters(around: range), .shared)
    defer { clusters.unlock(held) }
    try await image.node.writeCompressed(range, from: bytes)
  }
}
