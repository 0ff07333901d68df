public import BlockLayer

/// Changes of what an image says it stands on.
public enum Rebase {
  /// Records `backing` (nil: none) as the backing file of `image` without a look at any data.
  ///
  /// What the guest sees where the image has nothing is what the new backing file has there. Right
  /// when the file was moved, or when a delta is put on its base. One atomic switch.
  ///
  /// Source: qemu-img's manual page, "rebase -u".
  public static func unsafely(_ image: BlockNode, onto backing: RecordedBacking?)
    async throws(BlockError)
  {
    guard let driver = image.driver as? any BackingFileImage else {
      throw BlockError(
        .unsupported, "\(image.driver.driverName) records no backing file", node: image.name)
    }
    if let backing, backing.format == nil {
      throw BlockError(
        .invalidArgument,
        "Could not change the backing file to '\(OpenPolicy.printable(backing.name))': backing "
          + "format must be specified")
    }
    try await driver.recordBacking(backing)
  }
}
