public import BlockLayer
internal import Primitives

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
    try await recorder(image, backing).recordBacking(backing)
  }

  /// Makes `image`, which shows what it did, stand on `backing` (nil: on nothing).
  ///
  /// `new` is a node that shows the new backing file's contents. Where `image` has nothing of its
  /// own, its old backing file's contents and those of `new` are compared; clusters that differ are
  /// written to `image`. Once they are durable the new name is recorded, by one atomic switch: so a
  /// crash at any moment leaves an image that shows the same with the name that it has. Layers that
  /// are below both are not read.
  ///
  /// Internal snapshots of `image` are not looked at: where they have nothing of their own, they
  /// show the new backing file.
  ///
  /// `image` is open for writing, with its old backing file, which it uses until it is closed; the
  /// backing files may be shorter or longer than it.
  ///
  /// Source: qemu-img's manual page, "rebase".
  public static func safely(
    _ image: BlockNode, onto backing: RecordedBacking?, showing new: BlockNode?,
    _ options: WorkOptions = WorkOptions()
  ) async throws(BlockError) {
    let driver = try recorder(image, backing)
    guard !image.isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: image.name)
    }
    // With nothing below, what the image does not have is zeros. Else what it has to hide must be
    // its own: zeros that show where the old backing file has ended are not.
    var plan = TransferPlan(zeros: new == nil ? .there : .owned)
    plan.writesWholeClusters = true
    plan.zeroBlock = new == nil ? max(image.clusterSize, 512) : 0
    plan.reference = new.map { DiskView([$0], length: image.length) }
    let floor = new.flatMap { image.layer(aboveImageOf: $0) }
    let source = DiskView([image], floor: floor, leavesTop: true)
    try await Transfer(source, to: image, plan, options).run(options)
    try await image.flush()
    try await driver.recordBacking(backing)
  }

  /// Makes `image` stand alone, in place: what its backing files show is copied into it, and then
  /// none is recorded.
  ///
  /// Zeros are not copied; internal snapshots show zeros where they have nothing of their own.
  ///
  /// To make a new image of a chain instead, convert it.
  public static func flatten(
    _ image: BlockNode, _ options: WorkOptions = WorkOptions()
  ) async throws(BlockError) {
    try await safely(image, onto: nil, showing: nil, options)
  }

  /// The driver that can record `backing`; throws when it could not.
  private static func recorder(
    _ image: BlockNode, _ backing: RecordedBacking?
  ) throws(BlockError) -> any BackingFileImage {
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
    try driver.checkRecordable(backing)
    return driver
  }
}

extension BlockNode {
  /// The layer of this node's chain right above the image that `other` shows too, through another
  /// opening or the same; nil where there is none.
  fileprivate func layer(aboveImageOf other: BlockNode) -> BlockNode? {
    var layer = dataNode
    while let below = layer.backing?.dataNode {
      let isSame =
        below === other.dataNode
        || below.hostIdentity != nil && below.hostIdentity == other.hostIdentity
          && below.driver.driverName == other.dataNode.driver.driverName
      if isSame { return layer }
      layer = below
    }
    return nil
  }
}
