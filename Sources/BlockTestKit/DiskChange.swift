internal import Primitives

/// A change that a simulated disk is asked for.
struct DiskChange {
  let operation: DiskOperation
  /// The bytes that change; for a resize, those gained or lost.
  let range: ByteRange
  /// What is written; nil for zeros.
  let bytes: [UInt8]?
  /// The new length of a resize.
  let length: Int?

  /// A write.
  init(writing bytes: [UInt8], at range: ByteRange) {
    self.init(.write, range, bytes, nil)
  }

  /// Zeros, by write-zeroes or discard.
  init(_ operation: DiskOperation, _ range: ByteRange) { self.init(operation, range, nil, nil) }

  /// A resize.
  init(from old: Int, toLength length: Int) {
    self.init(.resize, ByteRange(min(old, length), max(old, length)), nil, length)
  }

  private init(_ operation: DiskOperation, _ range: ByteRange, _ bytes: [UInt8]?, _ length: Int?) {
    self.operation = operation
    self.range = range
    self.bytes = bytes
    self.length = length
  }

  /// The part of the change that concerns `part`.
  func part(_ part: ByteRange) -> DiskChange {
    let slice = part.relative(to: range.lower)
    return DiskChange(operation, part, bytes.map { Array($0[slice.lower..<slice.upper]) }, length)
  }

  /// Makes the change.
  func apply(to image: inout SparseImage) {
    if let length {
      image.resize(to: length)
    } else if let bytes {
      image.write(bytes, at: range.lower)
    } else {
      let end = max(image.length, operation == .writeZeroes ? range.upper : 0)
      image.zero(range)
      if end > image.length { image.resize(to: end) }
    }
  }
}
