/// Loads and stores of big-endian integers in raw spans, at any alignment.
///
/// Offsets are checked against the span: out of bounds traps, so a parser checks lengths first.
extension RawSpan {
  /// The big-endian integer at `offset`.
  @inlinable
  public func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type = T.self, at offset: Int
  ) -> T {
    // Safe: unsafeLoadUnaligned checks bounds; any bit pattern is a valid fixed-width integer.
    T(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
  }

  /// The little-endian integer at `offset`.
  @inlinable
  public func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type = T.self, at offset: Int
  ) -> T {
    T(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
  }
}

extension MutableRawSpan {
  /// The big-endian integer at `offset`.
  @inlinable
  public func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type = T.self, at offset: Int
  ) -> T {
    bytes.bigEndian(T.self, at: offset)
  }

  /// Stores `value` big-endian at `offset`.
  @inlinable
  public mutating func storeBigEndian<T: FixedWidthInteger & BitwiseCopyable>(
    _ value: T, at offset: Int
  ) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
  }
}
