internal import Synchronization

/// A driver whose image can give up everything that it has of its own.
public protocol EmptyableImage: BlockDriver {
  /// Makes the image show what is below it, and zeros where nothing is; snapshots and bitmaps stay.
  ///
  /// Durable, and one atomic switch: a crash leaves the old contents or none, and leaks at worst.
  func makeEmpty() async throws(BlockError)

  /// Throws what `makeEmpty` would refuse, before anything is done for it.
  func checkEmptyable() throws(BlockError)
}

extension EmptyableImage {
  /// Refuses nothing.
  public func checkEmptyable() throws(BlockError) {}
}

extension BlockNode {
  /// Makes the image show what is below it, and zeros where nothing is.
  ///
  /// For an overlay whose contents are in its backing file by now: the node's dirty bitmaps are not
  /// told of any change. No request may be under way. Throws `unsupported` where the driver has no
  /// such verb.
  public func makeEmpty() async throws(BlockError) {
    let image = try emptyableImage()
    defer { writes.add(1, ordering: .releasing) }
    do {
      try await image.makeEmpty()
    } catch {
      throw error.at(node: name)
    }
  }

  /// Throws what `makeEmpty` would refuse.
  ///
  /// For who has much to do first.
  public func checkEmptyable() throws(BlockError) { _ = try emptyableImage() }

  private func emptyableImage() throws(BlockError) -> any EmptyableImage {
    guard let image = driver as? any EmptyableImage else {
      throw BlockError(
        .unsupported, "\(driver.driverName) images cannot be emptied", node: name)
    }
    guard !isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: name)
    }
    try checkHealthy()
    do {
      try image.checkEmptyable()
    } catch {
      throw error.at(node: name)
    }
    return image
  }
}
