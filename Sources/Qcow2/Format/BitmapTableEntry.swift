/// An entry of a bitmap's table, 8 bytes: what one cluster of the bitmap's bytes is (qcow2
/// specification, "Bitmap table").
///
/// Bits 9–55: offset of the cluster with the bytes. Where that is 0, bit 0 tells whether all bits
/// are one. The others are reserved.
@frozen
public struct BitmapTableEntry: Hashable, Sendable {
  /// The 64 bits, in the machine's order.
  public let rawValue: UInt64

  /// Bits 9–55.
  static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  /// Bits that must be zero.
  static let reservedMask: UInt64 = 0xff00_0000_0000_01fe

  /// What an entry says about its piece of the bitmap.
  public enum Kind: Hashable, Sendable {
    /// Every bit is zero.
    case allZeros
    /// Every bit is one.
    case allOnes
    /// The bits are in the cluster at this place, aligned.
    case data(HostOffset)
  }

  /// Makes the entry that a table holds.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Makes the entry that says `kind`.
  public init(_ kind: Kind) {
    switch kind {
    case .allZeros: rawValue = 0
    case .allOnes: rawValue = 1
    case .data(let offset):
      rawValue = UInt64(offset.value)
      precondition(
        rawValue != 0 && rawValue & ~Self.offsetMask == 0, "no bitmap data is at \(offset)")
    }
  }

  /// What the entry says; nil when a reserved bit is set, the offset is not aligned, or both
  /// offset and bit 0 are set.
  public func kind(geometry: Geometry) -> Kind? {
    guard rawValue & Self.reservedMask == 0 else { return nil }
    let bits = rawValue & Self.offsetMask
    if bits == 0 { return rawValue & 1 == 0 ? .allZeros : .allOnes }
    let offset = HostOffset(Int(truncatingIfNeeded: bits))
    guard rawValue & 1 == 0, geometry.isClusterAligned(offset) else { return nil }
    return .data(offset)
  }
}
