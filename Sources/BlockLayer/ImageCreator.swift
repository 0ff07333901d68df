/// What a new image shall be, in terms of any format.
public struct NewImage: Sendable {
  /// The size of the disk in bytes.
  public var length: Int
  /// The backing file, as it shall stand in the image.
  public var backing: RecordedBacking?
  /// The cluster size in bytes; the format's own default if it is nil.
  public var clusterSize: Int?

  /// Makes a description.
  public init(length: Int, backing: RecordedBacking? = nil, clusterSize: Int? = nil) {
    self.length = length
    self.backing = backing
    self.clusterSize = clusterSize
  }
}

/// How images of a format are made.
public struct ImageCreator: Sendable {
  /// Throws, with QEMU's texts, for an image that the format cannot express.
  ///
  /// It is asked before a file is touched.
  let check: @Sendable (_ image: NewImage) throws(BlockError) -> Void
  /// Writes the image into `file`, which is empty, durably.
  let create: @Sendable (_ image: NewImage, _ file: BlockNode) async throws(BlockError) -> Void
  /// Tells how large an image's file becomes.
  let measure: @Sendable (_ image: NewImage) throws(BlockError) -> ImageMeasurer

  /// Makes a creator; without `measure`, an image takes what its disk does.
  public init(
    check: @escaping @Sendable (_ image: NewImage) throws(BlockError) -> Void,
    create:
      @escaping @Sendable (_ image: NewImage, _ file: BlockNode) async throws(BlockError) ->
      Void,
    measure: @escaping @Sendable (_ image: NewImage) throws(BlockError) -> ImageMeasurer = {
      _ throws(BlockError) in .raw
    }
  ) {
    self.check = check
    self.create = create
    self.measure = measure
  }

  /// A file of the disk's length that reads as zeros.
  public static let raw = ImageCreator { image throws(BlockError) in
    guard image.length >= 0 else {
      throw BlockError(.invalidArgument, "Parameter 'size' expects a >0 size")
    }
    guard image.backing == nil else {
      throw BlockError(.unsupported, "Backing file not supported for file format 'raw'")
    }
  } create: { (image, file) async throws(BlockError) in
    try await file.resize(to: image.length)
    try await file.flush()
  }
}
