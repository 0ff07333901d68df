internal import Primitives

/// The bitmaps extension of the header: where the bitmap directory is (qcow2 specification,
/// "Bitmaps extension", type 0x23852875).
///
/// On disk 24 bytes: count (0, u32), reserved (4, u32), directory size (8, u64), directory offset
/// (16, u64). It holds only while the autoclear bit `.bitmaps` is set.
public struct BitmapExtension: Hashable, Sendable {
  /// The number of bitmaps, 1 to 65535.
  public var bitmapCount: Int
  /// The size of the directory in bytes.
  public var directoryByteCount: Int
  /// The place of the directory, cluster-aligned.
  public var directoryOffset: HostOffset

  static let byteCount = 24

  /// Makes the extension that names a directory.
  public init(bitmapCount: Int, directoryByteCount: Int, directoryOffset: HostOffset) {
    self.bitmapCount = bitmapCount
    self.directoryByteCount = directoryByteCount
    self.directoryOffset = directoryOffset
  }

  /// Reads the extension's body.
  ///
  /// Throws what is wrong with it.
  init(body: RawSpan, clusterSize: Int) throws(Qcow2FormatError) {
    guard body.byteCount == Self.byteCount else {
      throw Qcow2FormatError(.invalidExtension, "bitmaps_ext: Invalid extension length")
    }
    guard body.bigEndian(UInt32.self, at: 4) == 0 else {
      throw Qcow2FormatError(.invalidExtension, "bitmaps_ext: Reserved field is not zero")
    }
    let count = Int(body.bigEndian(UInt32.self, at: 0))
    guard count <= FormatLimits.maximumBitmaps else {
      throw Qcow2FormatError(
        .tooLarge,
        "bitmaps_ext: Image has \(count) bitmaps, exceeding the QEMU supported maximum of "
          + "\(FormatLimits.maximumBitmaps)")
    }
    guard count > 0 else {
      throw Qcow2FormatError(.invalidExtension, "found bitmaps extension with zero bitmaps")
    }
    let offset = HostOffset(field: body.bigEndian(UInt64.self, at: 16))
    guard let offset, offset.isAligned(to: clusterSize) else {
      throw Qcow2FormatError(.invalidExtension, "bitmaps_ext: invalid bitmap directory offset")
    }
    let size = body.bigEndian(UInt64.self, at: 8)
    guard size <= UInt64(FormatLimits.maximumBitmapDirectoryBytes) else {
      throw Qcow2FormatError(
        .tooLarge,
        "bitmaps_ext: bitmap directory size (\(size)) exceeds the maximum supported size "
          + "(\(FormatLimits.maximumBitmapDirectoryBytes))")
    }
    self.init(bitmapCount: count, directoryByteCount: Int(size), directoryOffset: offset)
  }

  /// The extension's body, 24 bytes.
  func serialize() -> [UInt8] {
    var body = ByteAppender()
    body.append(UInt32(bitmapCount))
    body.append(UInt32(0))
    body.append(UInt64(directoryByteCount))
    body.append(UInt64(directoryOffset.value))
    return body.bytes
  }
}

/// Why an image that has a bitmaps extension has no usable bitmaps.
public enum BitmapsDefect: Hashable, Sendable {
  /// The autoclear bit is clear: a program that does not know bitmaps wrote to the image. A writer
  /// drops the extension; the clusters it named are leaks.
  case stale
  /// The extension is malformed. Only images not opened for writing get this far.
  case invalid(Qcow2FormatError)
}

extension BitmapsDefect {
  /// What to tell the user of an image of `version`: QEMU's warning, in one line.
  public func warning(version: FormatVersion) -> String {
    let advice = "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix."
    switch self {
    case .invalid(let error): return error.message
    case .stale where version == .v2:
      return "This qcow2 v2 image contains bitmaps, but they may have been modified by a program "
        + "without persistent bitmap support; so now they must all be considered inconsistent. "
        + advice
    case .stale:
      return "a program lacking bitmap support modified this file, so all bitmaps are now "
        + "considered inconsistent. " + advice
    }
  }
}
