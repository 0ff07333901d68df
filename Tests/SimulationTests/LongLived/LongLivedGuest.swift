import BlockLayer
import Execution
import Primitives

/// A guest with a part of the disk to itself, and what must be there.
struct LongLivedGuest: Sendable {
  let door: BlockBackend
  let clusterSize: Int
  let part: ByteRange
  var bytes: ArraySlice<UInt8>
  var random: SeededGenerator

  /// Does `count` things at random; answers what it read wrongly, or nil.
  mutating func work(_ count: Int) async throws(BlockError) -> String? {
    for _ in 0..<count {
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<34: try await write(isCompressed: false)
      case 34..<54: try await write(isCompressed: true)
      case 54..<68:
        let range = clusters(upTo: 16)
        try await door.discard(range)
        zero(range)
      case 68..<76:
        let range = sectors(upTo: 4 * clusterSize)
        try await door.writeZeroes(range, mayUnmap: Bool.random(using: &random))
        zero(range)
      case 76..<98:
        if let problem = try await read(sectors(upTo: 4 * clusterSize)) { return problem }
      default: try await door.flush()
      }
    }
    return nil
  }

  private mutating func write(isCompressed: Bool) async throws(BlockError) {
    let range = isCompressed ? clusters(upTo: 3) : sectors(upTo: 3 * clusterSize)
    var new = [UInt8](repeating: 0, count: range.count)
    // Some noise and then one byte throughout: streams of all lengths.
    for start in stride(from: 0, to: range.count, by: clusterSize) {
      let end = min(start + clusterSize, range.count)
      let noise = min(start + Int.random(in: 8...clusterSize * 3 / 4, using: &random), end)
      var offset = start
      while offset < noise {
        var word = random.next()
        for _ in 0..<min(8, noise - offset) {
          new[offset] = UInt8(truncatingIfNeeded: word)
          word >>= 8
          offset += 1
        }
      }
      let rest = UInt8.random(in: 0...255, using: &random)
      for offset in noise..<end { new[offset] = rest }
    }
    if isCompressed {
      try await door.writeCompressed(range, from: new.span.bytes)
    } else {
      try await door.write(new, at: range.lower)
    }
    bytes.replaceSubrange(range.lower..<range.upper, with: new)
  }

  private func read(_ range: ByteRange) async throws(BlockError) -> String? {
    let found = try await door.read(at: range.lower, count: range.count)
    guard !found.elementsEqual(bytes[range.lower..<range.upper]) else { return nil }
    let place = zip(found, bytes[range.lower..<range.upper]).enumerated()
      .first { $1.0 != $1.1 }?.offset
    return "\(range) reads wrongly at its byte \(place ?? -1)"
  }

  private mutating func zero(_ range: ByteRange) {
    for offset in range.lower..<range.upper { bytes[offset] = 0 }
  }

  /// Some of the sectors of its part.
  private mutating func sectors(upTo byteCount: Int) -> ByteRange {
    range(unit: 512, upTo: byteCount / 512)
  }

  /// Some of the clusters of its part, the last of which may be shorter.
  private mutating func clusters(upTo count: Int) -> ByteRange {
    range(unit: clusterSize, upTo: count)
  }

  private mutating func range(unit: Int, upTo count: Int) -> ByteRange {
    let units = part.count.dividedRoundingUp(by: unit)
    let first = Int.random(in: 0..<units, using: &random)
    let number = Int.random(in: 1...min(count, units - first), using: &random)
    let lower = part.lower + first * unit
    return ByteRange(lower, min(lower + number * unit, part.upper))
  }
}
