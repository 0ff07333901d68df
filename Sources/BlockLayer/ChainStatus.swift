public import Primitives

/// Block status, seen through filters and backing nodes.
extension BlockNode {
  /// What the bytes from `range.lower` are, in the first layer of the chain that decides.
  ///
  /// Layers up to and including `base` are asked (nil: the whole chain).
  ///
  /// A layer shorter than the one above shows zeros beyond its end.
  public func chainStatus(_ range: ByteRange, downTo base: BlockNode? = nil)
    async throws(BlockError) -> ChainStatus
  {
    precondition(!range.isEmpty && range.upper <= length, "status is asked of the node's own bytes")
    var node = self
    var window = range
    var depth = 0
    while true {
      var status = try await node.layerStatus(window)
      let layer = node.dataNode
      status.count = min(status.count, window.count)
      window = window.prefix(status.count)
      if status.isAllocated || layer === base?.dataNode {
        return ChainStatus(count: status.count, depth: depth, status: status)
      }
      guard let below = layer.backing else {
        status.isZero = true
        return ChainStatus(count: status.count, depth: depth, status: status)
      }
      guard window.lower < below.length else {
        // The backing node ends before: zeros that the layer above it decides.
        status.isZero = true
        return ChainStatus(count: status.count, depth: depth, status: status)
      }
      window = window.intersection(ByteRange(0, below.length))
      node = below
      depth += 1
    }
  }

  /// The answer for the bytes from `range.lower` of the first layer from here down that is no
  /// filter; where it points into a file that may have a hole there, the file is asked too.
  func layerStatus(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    if let eventSink { try await eventSink.checkStatus(range) }
    if driver.isFilter, let below = primary { return try await below.layerStatus(range) }
    var status: BlockStatus
    do {
      status = try await driver.status(range)
    } catch {
      throw error.at(node: name, range)
    }
    precondition(status.count >= 1, "\(driver.driverName) gave an empty status")
    guard status.mayRecurse, status.isData, let offset = status.offset, let file = statusChild,
      let below = ByteRange(checkedOffset: offset, count: status.count)
    else { return status }
    guard below.lower < file.length else {
      status.isZero = true  // a format may end in the middle of the file's last cluster
      return status
    }
    let inside = below.intersection(ByteRange(0, file.length))
    let deeper = try await file.layerStatus(inside)
    status.count = min(status.count, deeper.count)
    if deeper.isZero { status.isZero = true }
    return status
  }

  /// The node that the offsets of this one's status are places of.
  private var statusChild: BlockNode? {
    driver.children.first { $0.role == .dataFile }?.node ?? primary
  }
}
