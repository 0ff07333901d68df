/// Why a bitmap could not be made or used.
///
/// Two errors are equal when their codes are.
///
/// Messages are those of QEMU's monitor where it has one for the case (QMP
/// `block-dirty-bitmap-add`, `-clear`, `-merge`, …), word for word.
public struct BitmapError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What kind of failure it is.
  public enum Code: String, Sendable {
    /// A name without a character.
    case emptyName
    /// A name of more bytes than `BitmapLimits.maximumNameByteCount`.
    case nameTooLong
    /// The node has a bitmap of that name already.
    case alreadyExists
    /// The node has no bitmap of that name.
    case notFound
    /// A granularity that is no power of two, or is out of range.
    case invalidGranularity
    /// A negative size.
    case invalidSize
    /// More granules than `BitmapLimits.maximumGranuleCount`.
    case tooManyGranules
    /// The system refused the address space.
    case outOfMemory
    /// Two bitmaps that describe disks of different sizes.
    case differentSizes
    /// A job or an export holds the bitmap.
    case busy
    /// The image that stores the bitmap is open read-only.
    case readOnly
    /// The stored bits cannot be trusted.
    case inconsistent
    /// A node kind, or an image of version 2, that cannot store bitmaps.
    case notStorable
    /// A bound of the on-disk form (granularity, name, number, space) is exceeded.
    case storageLimit
  }

  /// What kind of failure it is.
  public let code: Code

  /// The text for people, which names the bitmap where there is one.
  public let message: String

  /// A second line for people: what to do.
  ///
  /// QEMU's tools print it below the message.
  public let hint: String?

  /// Makes an error.
  public init(_ code: Code, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  /// Whether the codes are equal; messages differ by names and numbers.
  public static func == (left: BitmapError, right: BitmapError) -> Bool { left.code == right.code }

  /// The message.
  public var description: String { message }
}

/// The errors of QMP's bitmap commands, with their texts.
extension BitmapError {
  /// A name without a character.
  public static var emptyName: BitmapError {
    BitmapError(.emptyName, "Bitmap name cannot be empty")
  }

  /// A name that is too long.
  public static func nameTooLong(_ name: String) -> BitmapError {
    BitmapError(.nameTooLong, "Bitmap name too long: \(name)")
  }

  /// A name that the node has already.
  public static func alreadyExists(_ name: String) -> BitmapError {
    BitmapError(.alreadyExists, "Bitmap already exists: \(name)")
  }

  /// A name that the node does not have.
  public static func notFound(_ name: String) -> BitmapError {
    BitmapError(.notFound, "Dirty bitmap '\(name)' not found")
  }

  /// A granularity that is no power of two or is below the smallest.
  public static var invalidGranularity: BitmapError {
    BitmapError(.invalidGranularity, "Granularity must be power of 2 and at least 512")
  }

  /// A bitmap that a job or an export holds.
  public static func busy(_ name: String) -> BitmapError {
    BitmapError(
      .busy, "Bitmap '\(name)' is currently in use by another operation and cannot be used")
  }

  /// A bitmap that is stored in an image open read-only.
  public static func readOnly(_ name: String) -> BitmapError {
    BitmapError(.readOnly, "Bitmap '\(name)' is readonly and cannot be modified")
  }

  /// A bitmap whose stored bits cannot be trusted.
  public static func inconsistent(_ name: String) -> BitmapError {
    BitmapError(
      .inconsistent, "Bitmap '\(name)' is inconsistent and cannot be used",
      hint: "Try block-dirty-bitmap-remove to delete this bitmap from disk")
  }

  /// Bitmaps of disks of different sizes (bytes), which cannot be merged.
  public static func differentSizes(destination: Int, source: Int) -> BitmapError {
    BitmapError(
      .differentSizes,
      "Bitmaps are of different sizes (destination size is \(destination), source size is "
        + "\(source)) and can't be merged")
  }
}

/// The errors QEMU has no text for: it aborts, or cannot come to them.
extension BitmapError {
  static func granularityTooLarge(_ granularity: Int) -> BitmapError {
    BitmapError(
      .invalidGranularity,
      "Granularity \(granularity) is above the largest, \(BitmapLimits.maximumGranularity)")
  }

  static func negativeSize(_ size: Int) -> BitmapError {
    BitmapError(.invalidSize, "A bitmap cannot describe \(size) bytes")
  }

  static func tooManyGranules(size: Int, granularity: Int) -> BitmapError {
    BitmapError(
      .tooManyGranules,
      "A bitmap of \(size) bytes at granularity \(granularity) needs more than "
        + "\(BitmapLimits.maximumGranuleCount) bits; use a larger granularity")
  }

  static func outOfMemory(size: Int, granularity: Int) -> BitmapError {
    BitmapError(
      .outOfMemory,
      "The system has no address space for a bitmap of \(size) bytes at granularity "
        + "\(granularity); use a larger granularity")
  }
}
