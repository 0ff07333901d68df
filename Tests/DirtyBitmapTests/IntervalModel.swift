import Primitives

/// The set granules of a huge bitmap as a sorted list of ranges that do not touch.
struct IntervalModel: Equatable {
  var granuleCount: Int
  var ranges: [Range<Int>] = []

  var count: Int { ranges.reduce(0) { $0 + $1.count } }

  mutating func assign(_ value: Bool, _ range: Range<Int>) {
    let range = range.clamped(to: 0..<granuleCount)
    guard !range.isEmpty else { return }
    var result: [Range<Int>] = []
    for old in ranges {
      let before = old.lowerBound..<max(old.lowerBound, min(old.upperBound, range.lowerBound))
      let after = min(old.upperBound, max(old.lowerBound, range.upperBound))..<old.upperBound
      result += [before, after].filter { !$0.isEmpty }
    }
    if value { result.append(range) }
    ranges = IntervalModel.joined(result)
  }

  private static func joined(_ pieces: [Range<Int>]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for piece in pieces.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last, last.upperBound == piece.lowerBound {
        result[result.count - 1] = last.lowerBound..<piece.upperBound
      } else {
        result.append(piece)
      }
    }
    return result
  }

  mutating func resize(to newCount: Int) {
    let kept = 0..<min(newCount, granuleCount)
    ranges = ranges.map { $0.clamped(to: kept) }.filter { !$0.isEmpty }
    granuleCount = newCount
  }

  func runs(in window: Range<Int>) -> [Range<Int>] {
    ranges.map { $0.clamped(to: window) }.filter { !$0.isEmpty }
  }

  /// The serialised bits of some granules, whole words of them.
  func serialized(_ window: Range<Int>) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: window.count / 8)
    for run in runs(in: window) {
      for granule in run {
        let bit = granule - window.lowerBound
        bytes[bit / 8] |= 1 << UInt8(bit % 8)
      }
    }
    return bytes
  }
}
