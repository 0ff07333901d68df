public import Primitives

/// A group of header fields that can be replaced by one small write: all of them lie in the first
/// 512 bytes, so that the write is done whole or not at all.
public enum HeaderFieldGroup: Hashable, Sendable, CaseIterable {
  /// The virtual size: 8 bytes at 24.
  case virtualSize
  /// Virtual size, and size and place of the active L1 table, with the encryption method between
  /// them, which does not change: 24 bytes at 24.
  case sizeAndL1Table
  /// Size and place of the active L1 table: 12 bytes at 36.
  case l1Table
  /// Place and size of the refcount table: 12 bytes at 48.
  case refcountTable
  /// Number and place of the snapshots: 12 bytes at 60.
  case snapshotTable
  /// The incompatible feature bits: 8 bytes at 72, version 3 only.
  case incompatibleFeatures
  /// The compatible feature bits: 8 bytes at 80, version 3 only.
  case compatibleFeatures
  /// Place, size and width of the refcounts, and what stands between: 52 bytes at 48, version 3
  /// only.
  case refcounts
  /// The autoclear feature bits: 8 bytes at 88, version 3 only.
  case autoclearFeatures

  /// The bytes of the header that the group takes.
  public var range: ByteRange {
    switch self {
    case .virtualSize: ByteRange(24, 32)
    case .sizeAndL1Table: ByteRange(24, 48)
    case .l1Table: ByteRange(36, 48)
    case .refcountTable: ByteRange(48, 60)
    case .snapshotTable: ByteRange(60, 72)
    case .incompatibleFeatures: ByteRange(72, 80)
    case .compatibleFeatures: ByteRange(80, 88)
    case .refcounts: ByteRange(48, 100)
    case .autoclearFeatures: ByteRange(88, 96)
    }
  }
}

extension Header {
  /// The bytes to write over `group.range` so that the group on disk says what this header says.
  ///
  /// A version 2 header has no feature words: asking for one is a programmer's mistake.
  public func patch(_ group: HeaderFieldGroup) -> [UInt8] {
    let bytes = fields(backingName: nil).serialize()
    precondition(group.range.upper <= bytes.count, "a version 2 header has no feature bits")
    return Array(bytes[group.range.lower..<group.range.upper])
  }
}
