internal import Synchronization

/// A driver whose image can give up everything that it has of its own.
public protocol EmptyableImage: BlockDriver {
  /// Makes the image show what is below it, and zeros where nothing is; snapshots and bitmaps stay.
  ///
  /// Durable, and one atomic switch: a crash leaves the old contents or none, and leaks at worst.
  func makeEmpty() async throws(BlockError)
}

extension BlockNode {
  /// Makes the image show what is below it, and zeros where nothing is.
  ///
  /// For an overlay whose contents are in its backing file by now: the node's dirty bitmaps are not
  /// told of any change. No request may be under way. Throws `unsupported` where the driver has no
  /// such verb.
  public func makeEmpty() async throws(BlockError) {
    guard let image = driver as? any EmptyableImage else {
      throw BlockError(
        .unsupported, "\(driver.driverName) images cannot be emptied", node: name)
    }
    guard !isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: name)
    }
    try checkHealthy()
    defer { writes.add(1, ordering: .releasing) }
    do {
      try await image.makeEmpty()
    } catch {
      throw error.at(node: name)
    }
  }
}
