public import BlockLayer
internal import Primitives

extension Qcow2Driver {
  /// Writes a new, empty image with `options` into `node`, which is empty or reads as zeros, and
  /// makes it durable.
  ///
  /// The header comes last, so that a half-made file is no image.
  ///
  /// Throws `invalidArgument` with QEMU's texts for options that the format cannot express.
  public static func create(_ options: NewImageOptions, in node: BlockNode)
    async throws(BlockError)
  {
    let layout = try parsing { () throws(Qcow2FormatError) in try ImageLayout(options) }
    for piece in layout.pieces {
      // What the header promises is durable before the header is there.
      if piece.range.lower == 0 { try await node.flush() }
      switch piece.content {
      case .bytes(let bytes): try await node.write(piece.range, from: bytes.span.bytes)
      case .zeros: try await node.writeZeroes(piece.range)
      }
    }
    try await node.flush()
  }
}

extension Qcow2Driver {
  /// Makes images for who knows no format: QEMU's defaults, but for what is asked for.
  public static let creator = ImageCreator { image throws(BlockError) in
    let options = NewImageOptions(image)
    _ = try parsing { () throws(Qcow2FormatError) in try ImageLayout(options) }
  } create: { (image, file) async throws(BlockError) in
    try await create(NewImageOptions(image), in: file)
  }
}

extension NewImageOptions {
  fileprivate init(_ image: NewImage) {
    self.init(virtualSize: image.length)
    if let size = image.clusterSize { clusterSize = size }
    if let backing = image.backing {
      backingFileName = EmbeddedName(bytes: Array(backing.name.utf8))
      backingFormat = backing.format.map { EmbeddedName(bytes: Array($0.utf8)) }
    }
  }
}
