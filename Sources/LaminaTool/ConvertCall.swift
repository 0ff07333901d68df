internal import BlockLayer
internal import ImageOps
internal import Primitives

/// What `convert` was asked for: its options, checked in qemu-img's order.
struct ConvertCall {
  static let options = OptionParser(
    "f= O= B= C c o= l= S= p q n m= W t= T= r= F= :object= :image-opts :target-image-opts "
      + ":target-is-zero :salvage :bitmaps :skip-broken-bitmaps U:force-share")

  let parsed: OptionParser.Result
  /// The format of a target that is no list of options.
  let format: String
  /// Zeros are left out in runs of so many bytes.
  let sparseSize: Int
  /// The snapshot of the source that is to be copied.
  let snapshot: SnapshotWish?

  var sources: [String] { parsed.operands.dropLast() }
  var output: String { parsed.operands.last ?? "" }
  var isCompressed: Bool { parsed.has("c") }
  var skipsCreation: Bool { parsed.has("n") }
  var copiesBitmaps: Bool { parsed.has("bitmaps") }

  /// Takes the words apart; throws for what is wrong with an option, or does not go together.
  init(_ tool: Tool, _ words: [String]) throws {
    var sparseSize = 4096
    var snapshot: SnapshotWish?
    parsed = try Self.options.parse(words, of: tool) { name, value in
      switch name {
      case "o": try FormatOptions.check(value)
      case "S": sparseSize = try Self.sparseSize(value, tool)
      case "l": snapshot = try SnapshotWish(value, tool)
      default: try LongWork.look(name, value, tool)
      }
    }
    self.sparseSize = sparseSize
    self.snapshot = snapshot
    format = parsed.value("O") ?? "raw"
    try checkCombination()
  }

  private func checkCombination() throws(ToolFailure) {
    func refuse(_ message: String, _ isWrong: Bool) throws(ToolFailure) {
      if isWrong { throw ToolFailure(message: message) }
    }
    let offloads = parsed.has("C")
    try refuse(
      "Use of --skip-broken-bitmaps requires --bitmaps",
      parsed.has("skip-broken-bitmaps") && !copiesBitmaps)
    try refuse("Cannot enable copy offloading when -c is used", offloads && isCompressed)
    try refuse("Cannot enable copy offloading when -S is used", offloads && parsed.has("S"))
    try refuse(
      "Cannot use copy offloading in salvaging mode", offloads && parsed.has("salvage"))
    try refuse(
      "--target-image-opts requires use of -n flag",
      parsed.has("target-image-opts") && !skipsCreation)
    try refuse(
      "--target-is-zero requires use of -n flag", parsed.has("target-is-zero") && !skipsCreation)
    try refuse(
      "-o has no effect when skipping image creation", skipsCreation && parsed.has("o"))
  }

  private static func sparseSize(_ text: String, _ tool: Tool) throws(ToolFailure) -> Int {
    let size = try tool.size(text, "buffer size for sparse output")
    guard size.isAligned(to: 512), size <= 16 << 20 else {
      throw ToolFailure(
        message: "Invalid buffer size for sparse output specified. Valid sizes are multiples of "
          + "512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).")
    }
    // Blocks are counted by powers of two: the next smaller one leaves out no less.
    return size == 0 ? 0 : 1 << (Int.bitWidth - 1 - size.leadingZeroBitCount)
  }

  // MARK: - The target

  /// The new image; throws for what cannot be made.
  func request(_ tool: Tool, size: Int) throws(ToolFailure) -> ImageRequest {
    var request = try ImageRequest(tool, path: output, format: format, parsed.all("o"))
    try request.setSize(size)
    try request.setBacking(parsed.value("B"), parsed.value("F"))
    if request.backing != nil {
      guard sources.count == 1 else {
        throw ToolFailure(
          message: "Having a backing file for the target makes no sense when concatenating "
            + "multiple input images")
      }
      guard request.backingFormat != nil else {
        throw ToolFailure(message: "Use of backing file requires explicit backing format")
      }
    }
    if isCompressed {
      guard format == "qcow2" else {
        throw ToolFailure(message: "Compression not supported for this file format")
      }
      if request.options.flag("encryption") || request.options.text("encrypt.format") != nil {
        throw ToolFailure(message: "Compression and encryption not supported at the same time")
      }
      if let mode = request.options.text("preallocation"), mode != "off" {
        throw ToolFailure(message: "Compression and preallocation not supported at the same time")
      }
    }
    return request
  }

  /// The conversion; `hasBacking` says that the target's backing file counts.
  func conversion(
    _ sources: [BlockNode], _ target: BlockNode, _ options: WorkOptions, hasBacking: Bool
  ) -> ImageConversion {
    var conversion = ImageConversion(options)
    conversion.sparseSize = sparseSize
    conversion.isCompressed = isCompressed
    conversion.keepsOrder = !parsed.has("W")
    conversion.salvages = parsed.has("salvage")
    conversion.targetIsZero = parsed.has("target-is-zero")
    // Only who says so knows that a given target's backing file has what the source shows.
    if hasBacking, let backing = target.dataNode.backing {
      let shared = sources.first?.layer(showing: backing)
      conversion.backing = shared.map { .layer($0) } ?? .contents(backing)
    }
    return conversion
  }
}

extension BlockNode {
  /// The layer of this node's chain, below its first, that shows the same file as `other`, in the
  /// same format.
  fileprivate func layer(showing other: BlockNode) -> BlockNode? {
    var layer = dataNode.backing?.dataNode
    while let present = layer {
      let isSame =
        present.hostIdentity != nil && present.hostIdentity == other.hostIdentity
        && present.driver.driverName == other.dataNode.driver.driverName
      if isSame { return present }
      layer = present.backing?.dataNode
    }
    return nil
  }
}
