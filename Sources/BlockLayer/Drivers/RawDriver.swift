public import Primitives

/// The format `raw`: the bytes of the node below as they are, or a window of them.
///
/// It raises `read_aio` and `write_aio` at the node below, once a request, before its access.
public final class RawDriver: BlockDriver {
  /// Always `raw`.
  public var driverName: String { "raw" }
  /// The node below.
  public let children: [BlockEdge]

  private let file: BlockEdge
  /// Where the window begins, in bytes of the node below.
  private let offset: Int
  /// The window's size; nil: up to the end of the node below, wherever that moves.
  private let size: Int?

  /// Shows the `size` bytes of `file` from `offset`; without a size, all up to its end.
  ///
  /// Throws `invalidArgument`, with QEMU's texts, for a window that does not lie in the file.
  ///
  /// Source: the QMP schema's `BlockdevOptionsRaw`.
  public init(file: BlockNode, offset: Int = 0, size: Int? = nil) throws(BlockError) {
    let length = file.length
    guard offset >= 0, offset <= length else {
      throw BlockError(
        .invalidArgument,
        "Offset (\(offset)) cannot be greater than size of the containing file (\(length))")
    }
    if let size {
      guard size >= 0, size <= length - offset else {
        throw BlockError(
          .invalidArgument,
          "The sum of offset (\(offset)) and size (\(size)) has to be smaller or equal to the "
            + " actual size of the containing file (\(length))")
      }
      guard size.isAligned(to: 512) else {
        throw BlockError(.invalidArgument, "Specified size is not multiple of 512")
      }
    }
    self.offset = offset
    self.size = size
    self.file = try BlockEdge(.file, to: file)
    children = [self.file]
  }

  /// The window's size, or what lies behind its beginning.
  public var length: Int { size ?? max(0, file.node.length - offset) }

  /// What the users take and share, as a filter has it.
  public func permissions(for role: ChildRole, parents: EdgePermissions, readOnly: Bool)
    -> EdgePermissions
  {
    .passedThrough(parents)
  }

  /// Reads from the node below.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    let node = file.node
    await node.raise(.readAio)
    try await node.read(below(range), into: &buffer)
  }

  /// Writes to the node below.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    let node = file.node
    await node.raise(.writeAio)
    try await node.write(below(range), from: bytes)
  }

  /// Zeroes in the node below.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    try await file.node.writeZeroes(below(range), mayUnmap: mayUnmap)
  }

  /// Discards in the node below.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    try await file.node.discard(below(range))
  }

  /// What the node below says, whose offsets are then this node's too.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    let below = try await file.node.chainStatus(below(range))
    return BlockStatus(
      count: below.count, isAllocated: true, isZero: below.status.isZero,
      isData: below.status.isData, offset: range.lower + offset)
  }

  private func below(_ range: ByteRange) -> ByteRange {
    ByteRange(range.lower + offset, range.upper + offset)
  }
}

extension RawDriver: ResizableImage {
  /// Resizes the node below; a window keeps its size.
  public func resize(to length: Int) async throws(BlockError) {
    try await file.node.resize(to: try end(length), mayShrink: true)
  }

  /// Grows the node below; a window keeps its size.
  public func grow(to length: Int, _ preallocation: Preallocation) async throws(BlockError) {
    try await file.node.resize(to: try end(length), preallocation: preallocation)
  }

  private func end(_ length: Int) throws(BlockError) -> Int {
    guard size == nil else {
      throw BlockError(
        .unsupported, "a raw window of fixed size cannot be resized; open it without a size")
    }
    let (end, overflow) = offset.addingReportingOverflow(length)
    guard !overflow else { throw BlockError(.invalidArgument, "a size of \(length) is too large") }
    return end
  }
}
