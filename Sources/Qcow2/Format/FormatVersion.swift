/// The version of the format: header bytes 4–7 (qcow2 specification, "Header").
public enum FormatVersion: Int, Comparable, Hashable, Sendable {
  /// QEMU's `compat=0.10`: no feature bits, 16-bit refcounts, no zero clusters.
  case v2 = 2
  /// QEMU's `compat=1.1`, the usual one.
  case v3 = 3

  /// Whether `left` is the older one.
  public static func < (left: FormatVersion, right: FormatVersion) -> Bool {
    left.rawValue < right.rawValue
  }
}

/// How guest data is encrypted: header bytes 32–35 (qcow2 specification, `crypt_method`).
public enum EncryptionMethod: Int, Hashable, Sendable {
  /// Not at all.
  case none = 0
  /// AES-CBC as QEMU once had it.
  case aes = 1
  /// LUKS.
  case luks = 2
}

/// The codec of compressed clusters: header byte 104 (qcow2 specification, `compression_type`).
public enum CompressionType: Int, Hashable, Sendable {
  /// Raw deflate; QEMU's option value is `zlib`.
  case deflate = 0
  /// Zstandard frames.
  case zstd = 1
}

/// What an image is opened for: it decides which defects of the header are fatal.
public enum OpenPurpose: Hashable, Sendable {
  /// Reading alone: nothing in the file will be changed.
  case readOnly
  /// Reading and writing.
  case readWrite
  /// Checking or repairing: defects that a check can report or repair are let through.
  case check
}
