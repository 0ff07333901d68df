import Primitives

/// The bitmap as anyone would write it: an array with a Bool for each granule.
///
/// It knows nothing of words and levels; the tests hold the real one against it.
struct ModelBitmap {
  var size: Int
  let granularity: Int
  var granules: [Bool]

  init(size: Int, granularity: Int) {
    self.size = size
    self.granularity = granularity
    granules = Array(
      repeating: false, count: ModelBitmap.granuleCount(size, granularity))
  }

  static func granuleCount(_ size: Int, _ granularity: Int) -> Int {
    size / granularity + (size % granularity == 0 ? 0 : 1)
  }

  var count: Int { granules.reduce(0) { $0 + ($1 ? 1 : 0) } }

  /// The bytes of a granule, clipped to the size.
  func bytes(_ granule: Int) -> ByteRange {
    let lower = granule * granularity
    return ByteRange(lower, lower + min(granularity, size - lower))
  }

  /// The granules that share a byte with `range`.
  func touching(_ range: ByteRange) -> Range<Int> {
    guard range.lower < min(range.upper, size) else { return 0..<0 }
    return range.lower / granularity..<(min(range.upper, size) - 1) / granularity + 1
  }

  /// The granules whose bytes (as far as the size) all lie in `range`.
  func inside(_ range: ByteRange) -> Range<Int> {
    var result = touching(range)
    if let first = result.first, !range.contains(bytes(first)) {
      result = first + 1..<max(first + 1, result.upperBound)
    }
    if let last = result.last, !range.contains(bytes(last)) { result = result.lowerBound..<last }
    return result
  }

  mutating func set(_ range: ByteRange) { for index in touching(range) { granules[index] = true } }

  mutating func reset(_ range: ByteRange) { for index in inside(range) { granules[index] = false } }

  mutating func fill(_ value: Bool) { for index in granules.indices { granules[index] = value } }

  mutating func resize(to newSize: Int) {
    let count = ModelBitmap.granuleCount(newSize, granularity)
    granules = Array(granules.prefix(count))
    granules += Array(repeating: false, count: count - granules.count)
    size = newSize
  }

  mutating func merge(_ other: ModelBitmap) {
    for index in other.granules.indices where other.granules[index] { set(other.bytes(index)) }
  }

  /// All runs of granules with `value`, clipped to `window`.
  func runs(_ value: Bool, in window: ByteRange) -> [ByteRange] {
    var runs: [ByteRange] = []
    for index in touching(window) where granules[index] == value {
      let piece = bytes(index).intersection(window)
      if let last = runs.last, last.upper == piece.lower {
        runs[runs.count - 1] = ByteRange(last.lower, piece.upper)
      } else {
        runs.append(piece)
      }
    }
    return runs
  }

  /// The bits in qcow2's order, in whole words of 8 bytes.
  var serialized: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: (granules.count + 63) / 64 * 8)
    for index in granules.indices where granules[index] { bytes[index / 8] |= 1 << (index % 8) }
    return bytes
  }

  mutating func deserialize(_ bytes: [UInt8], at offset: Int) {
    for index in offset * 8..<max(offset * 8, min(granules.count, (offset + bytes.count) * 8)) {
      granules[index] = bytes[index / 8 - offset] >> (index % 8) & 1 != 0
    }
  }
}
