internal import BlockLayer
internal import Execution
internal import Primitives

/// An image that qemu-io has open.
final class IOImage: Sendable {
  let graph: BlockGraph
  let disk: BlockBackend
  /// The image itself: what commands tell of.
  let image: BlockNode
  /// Whether writes are refused.
  let isReadOnly: Bool
  /// Whether a write is durable when it is over.
  let writesThrough: Bool
  /// The filter that commands set breakpoints at; nil without one.
  let breakpoints: BlkdebugDriver?

  var world: World { graph.world }

  /// Makes a door at `node`, which is `image` or a filter above it.
  init(
    _ node: BlockNode, of image: BlockNode, in graph: BlockGraph, writesThrough: Bool
  ) throws(BlockError) {
    self.graph = graph
    self.image = image
    self.writesThrough = writesThrough
    isReadOnly = node.isReadOnly
    disk = try BlockBackend(node, in: graph)
    var next: BlockNode? = node
    while let node = next, !(node.driver is BlkdebugDriver) { next = node.primary }
    breakpoints = next?.driver as? BlkdebugDriver
  }

  func close() async throws(BlockError) {
    let node = disk.node
    await disk.close()
    try await graph.close(node)
  }

  /// The bytes that an offset and a length name; throws where the disk ends before.
  func range(_ offset: Int, _ count: Int) throws(BlockError) -> ByteRange {
    guard let range = ByteRange(checkedOffset: offset, count: count), range.upper <= disk.length
    else { throw BlockError(.outOfRange, "the request ends beyond the disk") }
    return range
  }

  func read(_ range: ByteRange) async throws(BlockError) -> [UInt8] {
    var data = [UInt8](repeating: 0, count: range.count)
    var span = data.mutableSpan
    var bytes = span.mutableBytes
    try await disk.read(range, into: &bytes)
    return data
  }

  func write(
    _ content: IOContent, to range: ByteRange, isDurable: Bool, isCompressed: Bool
  ) async throws(BlockError) {
    let isDurable = isDurable || writesThrough
    if case .zeros(let mayUnmap, let mayFallBack) = content {
      try await disk.writeZeroes(
        range, mayUnmap: mayUnmap, mayFallBack: mayFallBack, forceUnitAccess: isDurable)
      return
    }
    let buffer = content.buffer(range.count)
    if isCompressed {
      try await disk.writeCompressed(range, from: buffer.bytes)
    } else {
      try await disk.write(range, from: buffer.bytes, forceUnitAccess: isDurable)
    }
  }

  func resize(to length: Int, _ mode: Preallocation) async throws(BlockError) {
    if mode != .off, length < disk.length {
      let isFormat = disk.node.dataNode.driver.driverName == "qcow2"
      throw BlockError(
        .invalidArgument,
        isFormat
          ? "Preallocation can't be used for shrinking an image"
          : "Cannot use preallocation for shrinking files")
    }
    try await disk.resize(to: length, mayShrink: true, preallocation: mode)
  }
}
