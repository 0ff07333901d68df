public import BlockLayer
internal import DirtyBitmap
internal import Primitives

extension Qcow2Driver {
  /// Writes a new, empty image with `options` into `node`, which is empty or reads as zeros, and
  /// makes it durable.
  ///
  /// The header comes last, so that a half-made file is no image. `dataFile`, if the options name
  /// one, is made as long as the disk; without it that is left to the caller. What it takes of
  /// memory does not depend on the size. Throws `invalidArgument` with QEMU's texts for options
  /// that the format cannot express, and what the host says of space.
  public static func create(
    _ options: NewImageOptions, in node: BlockNode, dataFile: BlockNode? = nil
  ) async throws(BlockError) {
    let layout = try parsing { () throws(Qcow2FormatError) in try ImageLayout(options) }
    if let dataFile {
      let mode = options.preallocation
      try await dataFile.resize(
        to: options.virtualSize, mayShrink: true, preallocation: mode == .metadata ? .off : mode)
      try await dataFile.flush()
    }
    for piece in layout.pieces {
      // What the header promises is durable before the header is there.
      if piece.range.lower == 0 { try await node.flush() }
      try await node.write(piece, options.preallocation)
    }
    try await node.flush()
  }
}

extension BlockNode {
  fileprivate func write(
    _ piece: ImageLayout.Piece, _ preallocation: Preallocation
  ) async throws(BlockError) {
    switch piece.content {
    case .zeros: try await writeZeroes(piece.range)
    case .space:
      if driver.limits.growsOnWrite, driver is any ResizableImage {
        if length < piece.range.upper { try await resize(to: piece.range.upper) }
      } else {
        try await writeZeroes(piece.range)
      }
      try await prepareSpace(piece.range, preallocation)
    case .bytes, .entries, .refcounts:
      var rest = piece.range
      while !rest.isEmpty {
        let part = rest.prefix(1 << 20)
        try await write(part, from: piece.bytes(part).span.bytes)
        rest = rest.dropFirst(part.count)
      }
    }
  }
}

extension Qcow2Driver {
  /// Makes images for who knows no format: QEMU's defaults, but for what is asked for.
  public static let creator = ImageCreator { image throws(BlockError) in
    let options = NewImageOptions(image)
    _ = try parsing { () throws(Qcow2FormatError) in try ImageLayout(options) }
  } create: { (image, file) async throws(BlockError) in
    try await create(NewImageOptions(image), in: file)
  } measure: { image throws(BlockError) in
    try NewImageOptions(image).measurer()
  }
}

extension NewImageOptions {
  /// Tells how large the file of such an image becomes; the virtual size is that of what is
  /// measured.
  public func measurer() throws(BlockError) -> ImageMeasurer {
    let hasBacking = backingFileName != nil
    var options = self
    options.backingFileName = nil
    options.backingFormat = nil
    options.virtualSize = 0
    _ = try parsing { () throws(Qcow2FormatError) in try options.geometry() }
    return ImageMeasurer(unit: clusterSize, hasBacking: hasBacking) {
      [options] contents throws(BlockError) in
      try parsing { () throws(Qcow2FormatError) in
        let footprint = try options.footprint(length: contents.length)
        // Space that is reserved is taken, whatever is put into it.
        let isReserved = [.falloc, .full].contains(options.preallocation)
        var measure = ImageMeasure(
          required: isReserved
            ? footprint.fullyAllocated
            : footprint.required(dataByteCount: contents.dataByteCount),
          fullyAllocated: footprint.fullyAllocated)
        if options.version == .v3, let bitmaps = contents.bitmaps {
          measure.bitmaps = try options.bitmapByteCount(
            bitmaps.map { (($0.name ?? "").utf8.count, $0.granularity) },
            length: contents.length)
        }
        return measure
      }
    }
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
