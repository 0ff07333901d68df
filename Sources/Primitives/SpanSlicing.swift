/// Slices and bulk operations of raw spans. Ranges are byte offsets in the span and are checked.
extension RawSpan {
  /// The bytes of `range`.
  @inlinable
  @_lifetime(copy self)
  public func slice(_ range: ByteRange) -> RawSpan { extracting(range.lower..<range.upper) }

  /// The bytes as an array.
  public func toArray() -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: byteCount) { buffer, count in
      withUnsafeBytes { bytes in UnsafeMutableRawBufferPointer(buffer).copyMemory(from: bytes) }
      count = byteCount
    }
  }

  /// Whether both spans hold the same bytes.
  public func elementsEqual(_ other: RawSpan) -> Bool {
    guard byteCount == other.byteCount else { return false }
    return firstDifference(from: other) == nil
  }
}

extension MutableRawSpan {
  /// The mutable bytes of `range`; the original is inaccessible while the slice lives.
  @inlinable
  @_lifetime(&self)
  public mutating func slice(_ range: ByteRange) -> MutableRawSpan {
    _mutatingExtracting(range.lower..<range.upper)
  }

  /// Copies `source`, which must fit, to `offset`.
  @inlinable
  public mutating func copy(from source: RawSpan, at offset: Int = 0) {
    precondition(
      offset >= 0 && source.byteCount <= byteCount - offset, "copy beyond the end of a span")
    guard !source.isEmpty else { return }
    withUnsafeMutableBytes { target in
      source.withUnsafeBytes { bytes in
        UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + bytes.count])
          .copyMemory(from: bytes)
      }
    }
  }

  /// Sets every byte of `range` to `value`.
  @inlinable
  public mutating func fill(_ range: ByteRange, with value: UInt8) {
    precondition(range.upper <= byteCount, "fill beyond the end of a span")
    withUnsafeMutableBytes { target in
      // Not a loop of our own: a debug build would take it byte by byte.
      _ = UnsafeMutableRawBufferPointer(rebasing: target[range.lower..<range.upper])
        .initializeMemory(as: UInt8.self, repeating: value)
    }
  }

  /// Sets every byte to `value`.
  @inlinable
  public mutating func fill(with value: UInt8) { fill(ByteRange(0, byteCount), with: value) }
}
