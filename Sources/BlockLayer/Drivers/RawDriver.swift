internal import Execution
public import Primitives
internal import SystemPackage

/// The format `raw`: the bytes of the node below as they are, or a window of them.
///
/// An image whose format was guessed has a guard: who may write to it, a guest, could make it look
/// like an image of another format, one that names a file of the host as its backing file, say,
/// and whoever guesses again would open that. So a change after which the first sector would be
/// taken for something else is refused, as QEMU does it.
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
  /// Whether a first sector still looks raw; nil: nobody minds.
  private let looksRaw: (@Sendable (RawSpan) -> Bool)?
  /// Held by changes of a guarded first sector: two could make together what neither does alone.
  private let firstSector = AsyncMutex()

  /// Shows the `size` bytes of `file` from `offset`; without a size, all up to its end.
  ///
  /// With `looksRaw`, changes of the first 512 bytes for which it then says no are refused. Throws
  /// `invalidArgument`, with QEMU's texts, for a window that does not lie in the file.
  ///
  /// Source: the QMP schema's `BlockdevOptionsRaw`.
  public init(
    file: BlockNode, offset: Int = 0, size: Int? = nil,
    looksRaw: (@Sendable (RawSpan) -> Bool)? = nil
  ) throws(BlockError) {
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
    self.looksRaw = looksRaw
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
  ///
  /// Throws `refused`, with EPERM, when the guard says no.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    let node = file.node
    await node.raise(.writeAio)
    guard isGuarded(range) else { return try await node.write(below(range), from: bytes) }
    try await firstSector.withLock { () async throws(BlockError) in
      try await checkLooksRaw(after: range, bytes)
      try await node.write(below(range), from: bytes)
    }
  }

  /// Zeroes in the node below, unless the guard says no: zeros belong to what formats begin with.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    guard isGuarded(range) else {
      return try await file.node.writeZeroes(below(range), mayUnmap: mayUnmap)
    }
    try await firstSector.withLock { () async throws(BlockError) in
      try await checkLooksRaw(after: range, nil)
      try await file.node.writeZeroes(below(range), mayUnmap: mayUnmap)
    }
  }

  /// Discards in the node below, unless the guard says no.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    guard isGuarded(range) else { return try await file.node.discard(below(range)) }
    try await firstSector.withLock { () async throws(BlockError) in
      try await checkLooksRaw(after: range, nil)
      try await file.node.discard(below(range))
    }
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

  // MARK: - The guard

  /// How many first bytes tell a format.
  private static let probedBytes = 512

  private func isGuarded(_ range: ByteRange) -> Bool {
    looksRaw != nil && range.lower < Self.probedBytes
  }

  /// Throws when the first sector would not look raw with `bytes`, or zeros, in `range`.
  private func checkLooksRaw(after range: ByteRange, _ bytes: RawSpan?) async throws(BlockError) {
    guard let looksRaw else { return }
    var sector = IOBuffer(byteCount: Self.probedBytes)
    var head = sector.mutableBytes
    try await file.node.read(below(ByteRange(0, Self.probedBytes)), into: &head)
    let changed = range.intersection(ByteRange(0, Self.probedBytes))
    if let bytes {
      head.copy(from: bytes.slice(ByteRange(0, changed.count)), at: changed.lower)
    } else {
      head.fill(changed, with: 0)
    }
    guard !looksRaw(head.bytes) else { return }
    throw BlockError(
      .refused,
      "the format of this image was guessed to be raw, and it would look like another one after "
        + "this request; open it with the format stated",
      errno: .notPermitted, range: range)
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
