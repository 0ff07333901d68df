public import Primitives

/// A door into the graph: what a guest's disk, an export or a program holds.
///
/// Requests are checked against the disk's bounds here, and counted, so that the graph can be
/// changed while none is under way. Call it inside `world.run { … }`.
public final class BlockBackend: Sendable {
  /// The device's name; nil for a door that nobody looks up.
  public let name: String?
  let root: BlockEdge
  /// Weak: the graph has the door, and would never go.
  private weak let graph: BlockGraph?
  /// What a drain shuts.
  let door = RequestDoor()

  /// Opens a door at `node`.
  ///
  /// A second writer is refused where a user below does not share that, a name that a node or
  /// another door has, always.
  public init(
    _ node: BlockNode, in graph: BlockGraph, name: String? = nil,
    permissions: EdgePermissions? = nil
  ) throws(BlockError) {
    if let name { try graph.checkBackendName(name) }
    self.name = name
    self.graph = graph
    root = try BlockEdge(
      .root, to: node,
      permissions: permissions ?? (node.isReadOnly ? .reader : .writer),
      user: name.map { "block device '\($0)'" } ?? "an unnamed block device")
    graph.add(self)
  }

  /// The node at which requests begin.
  public var node: BlockNode { root.node }

  /// The size in bytes.
  public var length: Int { node.length }

  /// Reads the bytes of `range`, which lies within the disk, into `buffer`, which has its length.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    if !door.tryEnter() { await door.enter() }
    defer { door.leave() }
    try await checkedNode(range).read(range, into: &buffer)
  }

  /// Writes `bytes`, which have the length of `range`; durably with `forceUnitAccess`.
  public func write(
    _ range: ByteRange, from bytes: RawSpan, forceUnitAccess: Bool = false
  ) async throws(BlockError) {
    if !door.tryEnter() { await door.enter() }
    defer { door.leave() }
    try await checkedNode(range).write(range, from: bytes, forceUnitAccess: forceUnitAccess)
  }

  /// Writes the clusters of `range`, compressed where that makes them smaller; see
  /// `BlockNode.writeCompressed(_:from:)`.
  public func writeCompressed(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    if !door.tryEnter() { await door.enter() }
    defer { door.leave() }
    try await checkedNode(range).writeCompressed(range, from: bytes)
  }

  /// Makes `range` read as zeros, durably with `forceUnitAccess`; `mayUnmap` allows giving up the
  /// space, and `mayFallBack` writing data where the driver has no better way.
  public func writeZeroes(
    _ range: ByteRange, mayUnmap: Bool = false, mayFallBack: Bool = true,
    forceUnitAccess: Bool = false
  ) async throws(BlockError) {
    if !door.tryEnter() { await door.enter() }
    defer { door.leave() }
    try await checkedNode(range).writeZeroes(
      range, mayUnmap: mayUnmap, mayFallBack: mayFallBack, forceUnitAccess: forceUnitAccess)
  }

  /// Tells that the contents of `range` are no longer needed.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    if !door.tryEnter() { await door.enter() }
    defer { door.leave() }
    try await checkedNode(range).discard(range)
  }

  /// Makes all completed writes durable.
  public func flush() async throws(BlockError) {
    if !door.tryEnter() { await door.enter() }
    defer { door.leave() }
    try await checkedNode(ByteRange(0, 0)).flush()
  }

  /// Gives the disk another length; its bitmaps follow, and growth dirties nothing.
  ///
  /// See `BlockNode.resize(to:mayShrink:preallocation:)`.
  public func resize(
    to length: Int, mayShrink: Bool = false, preallocation: Preallocation = .off
  ) async throws(BlockError) {
    guard let graph else { throw BlockError(.closed, "the graph of the disk is gone") }
    let old = permissions
    try change(
      permissions: EdgePermissions(taken: old.taken.union(.resize), shared: old.shared))
    defer { try? change(permissions: old) }
    let node = self.node
    try await graph.drained(node) { () async throws(BlockError) in
      try await node.resize(to: length, mayShrink: mayShrink, preallocation: preallocation)
    }
  }

  /// Lets go of the node, once the requests under way have ended; later ones throw `closed`.
  public func close() async {
    await door.quiesce()
    // First: whoever finds it by its name finds its node.
    graph?.remove(self)
    root.detach()
    door.resume()
  }

  /// What the door takes of its node, and shares.
  public var permissions: EdgePermissions { root.permissions }

  /// Changes what the door takes and shares.
  public func change(permissions: EdgePermissions) throws(BlockError) {
    try root.change(permissions: permissions)
  }

  private func checkedNode(_ range: ByteRange) throws(BlockError) -> BlockNode {
    guard let node = root.attachedNode else {
      throw BlockError(.closed, "the block device was closed", range: range)
    }
    let length = node.length
    guard range.upper <= length else {
      throw BlockError(
        .outOfRange, "the request ends at \(range.upper), beyond the disk's \(length) bytes",
        node: node.name, range: range)
    }
    return node
  }
}

/// Whole-array forms, for programs and tests that do not keep buffers.
extension BlockBackend {
  /// The `count` bytes from `offset`.
  public func read(at offset: Int, count: Int) async throws(BlockError) -> [UInt8] {
    let range = try checked(offset, count)
    var buffer = IOBuffer(byteCount: count)
    var bytes = buffer.mutableBytes
    try await read(range, into: &bytes)
    return bytes.bytes.toArray()
  }

  /// Writes `bytes` at `offset`.
  public func write(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
    let range = try checked(offset, bytes.count)
    try await write(range, from: bytes.span.bytes)
  }

  /// Writes `count` bytes of `pattern` at `offset`.
  public func fill(_ pattern: UInt8, at offset: Int, count: Int) async throws(BlockError) {
    var rest = try checked(offset, count)
    var buffer = IOBuffer(byteCount: min(count, 1 << 20))
    var bytes = buffer.mutableBytes
    bytes.fill(with: pattern)
    while !rest.isEmpty {
      let piece = rest.prefix(bytes.byteCount)
      try await write(piece, from: bytes.bytes.slice(ByteRange(0, piece.count)))
      rest = rest.dropFirst(piece.count)
    }
  }

  private func checked(_ offset: Int, _ count: Int) throws(BlockError) -> ByteRange {
    guard let range = ByteRange(checkedOffset: offset, count: count) else {
      throw BlockError(.invalidArgument, "offset \(offset) and count \(count) name no bytes")
    }
    return range
  }
}
