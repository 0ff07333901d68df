#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// Scans of memory for zeros and differences, at memory speed.
extension RawSpan {
  /// Whether every byte is zero.
  ///
  /// O(n), about 50 GB/s from cache.
  public var isZero: Bool {
    withUnsafeBytes { bytes in
      let count = bytes.count
      var index = 0
      // Eight words a step: the loads and ORs vectorise, and one branch covers 64 bytes.
      while index + 64 <= count {
        var union: UInt64 = 0
        for word in 0..<8 {
          union |= bytes.loadUnaligned(fromByteOffset: index + word * 8, as: UInt64.self)
        }
        if union != 0 { return false }
        index += 64
      }
      while index < count {
        if bytes[index] != 0 { return false }
        index += 1
      }
      return true
    }
  }

  /// The offset of the first byte that is not zero, or nil when all are.
  public var firstNonzero: Int? {
    var start = 0
    while start < byteCount {
      let end = Swift.min(start + 4096, byteCount)
      if !extracting(start..<end).isZero {
        return withUnsafeBytes { bytes in (start..<end).first { bytes[$0] != 0 } }
      }
      start = end
    }
    return nil
  }

  /// The length of the run at the start whose blocks of `block` bytes are all zero, or all not, and
  /// which of both it is.
  ///
  /// The last block may be short.
  public func leadingRun(block: Int) -> (isZero: Bool, count: Int) {
    precondition(block > 0 && !isEmpty, "a run needs bytes and a block size")
    let isZero = extracting(first: block).isZero
    var position = Swift.min(block, byteCount)
    while position < byteCount {
      let end = Swift.min(position + block, byteCount)
      if extracting(position..<end).isZero != isZero { break }
      position = end
    }
    return (isZero, position)
  }

  /// The offset of the first byte that differs from `other`, or nil when the common length agrees.
  public func firstDifference(from other: RawSpan) -> Int? {
    let count = Swift.min(byteCount, other.byteCount)
    return withUnsafeBytes { left in
      other.withUnsafeBytes { right -> Int? in
        guard count > 0, let a = left.baseAddress, let b = right.baseAddress else { return nil }
        if memcmp(a, b, count) == 0 { return nil }
        // Narrow down by blocks, then look at single bytes.
        var start = 0
        while start < count {
          let length = Swift.min(4096, count - start)
          if memcmp(a + start, b + start, length) != 0 { break }
          start += length
        }
        return (start..<count).first { left[$0] != right[$0] }
      }
    }
  }

  @_lifetime(copy self)
  private func extracting(first count: Int) -> RawSpan {
    extracting(0..<Swift.min(count, byteCount))
  }
}
