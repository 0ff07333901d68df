internal import BlockLayer
internal import Primitives
internal import Synchronization

/// Whether mapped clusters may be holes of the host file.
extension Qcow2Driver {
  /// Whether the file takes noticeably less space than the clusters in use: then block status looks
  /// for holes below, which is one more host call a run.
  ///
  /// The rule is qemu-img's as it is seen from outside: clusters in use are at least 10/9 of those
  /// with space, and at least two more. Found out once, when first asked for.
  func mayHaveHoles() async throws(BlockError) -> Bool {
    let known = holes.load(ordering: .relaxed)
    if known != .unknown { return known == .yes }
    let found = try await findHoles()
    holes.store(found ? .yes : .no, ordering: .relaxed)
    return found
  }

  private func findHoles() async throws(BlockError) -> Bool {
    let node = file.node
    guard let host = node.dataNode.driver as? any HostBacked else { return false }
    let withSpace = try host.allocatedBytes() / geometry.clusterSize
    let limit = max(withSpace * 10 / 9, withSpace + 2)
    let header = tables.withLock { $0.header.header }
    let geometry = header.geometry
    let codec = RefcountBlock(order: geometry.refcountOrder)
    var inUse = 0
    for value in try await Self.readTable(header.refcountTableRange, of: node) {
      guard let offset = RefcountTableEntry(rawValue: value).checkedBlock(geometry: geometry),
        offset.value < node.length
      else { continue }
      var buffer = IOBuffer(byteCount: geometry.clusterSize)
      var bytes = buffer.mutableBytes
      try await node.read(ByteRange(offset: offset.value, count: bytes.byteCount), into: &bytes)
      inUse += codec.nonzeroCount(in: bytes.bytes, range: 0..<geometry.entriesPerRefcountBlock)
      if inUse >= limit { return true }
    }
    return false
  }
}

/// A flag that may not be known yet, as one byte.
enum Finding: UInt8, AtomicRepresentable {
  case unknown
  case no
  case yes
}
