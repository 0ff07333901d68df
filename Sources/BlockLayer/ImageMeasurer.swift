public import DirtyBitmap
internal import Primitives

/// How much space an image takes in its file, in bytes.
///
/// Source: the QMP schema's `BlockMeasureInfo`.
public struct ImageMeasure: Equatable, Sendable {
  /// The size of a new image's file with the contents that were measured.
  public var required: Int
  /// The size of the file once the guest has written everything.
  public var fullyAllocated: Int
  /// What copying the persistent bitmaps would take on top; nil where source or target has none.
  public var bitmaps: Int?

  /// Makes a measure.
  public init(required: Int, fullyAllocated: Int, bitmaps: Int? = nil) {
    self.required = required
    self.fullyAllocated = fullyAllocated
    self.bitmaps = bitmaps
  }
}

/// What is to be put into an image.
public struct MeasuredContents: Sendable {
  /// The size of the disk in bytes.
  public var length: Int
  /// The bytes that take space, counted in whole units of the measurer.
  public var dataByteCount: Int
  /// The persistent bitmaps; nil when the source cannot have any.
  public var bitmaps: [BitmapInfo]?

  /// Makes a description.
  public init(length: Int, dataByteCount: Int, bitmaps: [BitmapInfo]? = nil) {
    self.length = length
    self.dataByteCount = dataByteCount
    self.bitmaps = bitmaps
  }
}

/// Tells how large the file of an image of certain options becomes.
public struct ImageMeasurer: Sendable {
  /// The unit in which the image allocates, in bytes, a power of two.
  public let unit: Int
  /// Whether the image has a backing file, of which nothing is known: all that is put into it
  /// counts, zeros too.
  public let hasBacking: Bool
  /// The calculation; throws for a disk that is too large.
  public let measure: @Sendable (_ contents: MeasuredContents) throws(BlockError) -> ImageMeasure

  /// Makes a measurer.
  public init(
    unit: Int, hasBacking: Bool = false,
    measure: @escaping @Sendable (_ contents: MeasuredContents) throws(BlockError) -> ImageMeasure
  ) {
    self.unit = unit
    self.hasBacking = hasBacking
    self.measure = measure
  }

  /// A file as long as the disk, in whole sectors.
  public static let raw = ImageMeasurer(unit: 512) { contents throws(BlockError) in
    guard let length = contents.length.checkedRoundedUp(to: 512) else {
      throw BlockError(.invalidArgument, "The image size is too large")
    }
    return ImageMeasure(required: length, fullyAllocated: length)
  }
}

extension BlockGraph {
  /// The measurer of a format's images; throws, with QEMU's texts, for an image that the format
  /// cannot express.
  public func measurer(format: String, _ image: NewImage) throws(BlockError) -> ImageMeasurer {
    try registry.creator(format).measure(image)
  }
}
