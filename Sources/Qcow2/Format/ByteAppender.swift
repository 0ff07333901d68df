internal import Primitives

/// Builds an on-disk structure front to back.
struct ByteAppender {
  /// What was appended so far.
  private(set) var bytes: [UInt8] = []

  /// Appends `value` big-endian.
  mutating func append<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
    let position = bytes.count
    append(zeros: T.bitWidth / 8)
    var elements = bytes.mutableSpan
    var span = elements.mutableBytes
    span.storeBigEndian(value, at: position)
  }

  /// Appends bytes as they are.
  mutating func append(bytes more: [UInt8]) { bytes += more }

  /// Appends zeros up to the next multiple of `alignment`, a power of two.
  mutating func pad(to alignment: Int) {
    append(zeros: bytes.count.roundedUp(to: alignment) - bytes.count)
  }

  /// Appends `count` zeros.
  mutating func append(zeros count: Int) {
    bytes += [UInt8](repeating: 0, count: count)
  }
}
