/// The plainest bitmap: words side by side, no summaries.
///
/// What a hierarchy has to beat.
public final class FlatBits {
  /// The words, least significant bit first.
  public let words: UnsafeMutablePointer<UInt64>
  /// The number of words.
  public let wordCount: Int
  /// The number of bits that count; those beyond in the last word are clear.
  public let bitCount: Int

  /// Makes `bitCount` clear bits.
  public init(bitCount: Int) {
    self.bitCount = bitCount
    wordCount = max(1, (bitCount + 63) / 64)
    words = .allocate(capacity: wordCount)
    words.initialize(repeating: 0, count: wordCount)
  }

  deinit { words.deallocate() }

  /// The length of the words in bytes.
  public var byteCount: Int { wordCount * 8 }

  /// The words as bytes: on a little-endian machine, qcow2's serialised form.
  public var bytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: words, count: byteCount)
  }

  /// Sets one bit.
  @inline(__always)
  public func set(_ bit: Int) { words[bit &>> 6] |= 1 &<< UInt64(bit & 63) }

  /// Sets or clears the bits `lower ..< upper`.
  public func assign(_ value: Bool, _ lower: Int, _ upper: Int) {
    guard lower < upper else { return }
    let (first, last) = (lower &>> 6, (upper - 1) &>> 6)
    let head = UInt64.max &<< UInt64(lower & 63)
    let tail = UInt64.max &>> UInt64(63 - (upper - 1) & 63)
    if first == last { return assign(value, word: first, head & tail) }
    assign(value, word: first, head)
    for word in first + 1..<last { words[word] = value ? .max : 0 }
    assign(value, word: last, tail)
  }

  @inline(__always)
  private func assign(_ value: Bool, word: Int, _ mask: UInt64) {
    words[word] = value ? words[word] | mask : words[word] & ~mask
  }

  /// Takes over the bits of `other`, which has as many.
  public func copy(_ other: FlatBits) { words.update(from: other.words, count: wordCount) }

  /// Sets the bits that are set in `other`, which has as many.
  public func formUnion(_ other: FlatBits) {
    let (target, source) = (words, other.words)
    for word in 0..<wordCount { target[word] |= source[word] }
  }

  /// The number of set bits, counted.
  public var count: Int {
    var count = 0
    for word in 0..<wordCount { count += words[word].nonzeroBitCount }
    return count
  }

  /// Calls `body` with the bounds of each run of set bits: eight words a step where none changes.
  @inlinable
  public func forEachRun(_ body: (Int, Int) -> Void) {
    var start = -1
    var index = 0
    while index < wordCount {
      let end = min(index + 8, wordCount)
      if end - index == 8, isUniform(index, start >= 0) {
        index = end
        continue
      }
      while index < end {
        start = scan(word: index, start, body)
        index += 1
      }
    }
    if start >= 0 { body(start, bitCount) }
  }

  @inlinable @inline(__always)
  func isUniform(_ index: Int, _ value: Bool) -> Bool {
    let flip: UInt64 = value ? .max : 0
    var differing: UInt64 = 0
    for word in 0..<8 { differing |= words[index + word] ^ flip }
    return differing == 0
  }

  /// Goes through one word with a run open since `start`, or none (-1); returns the same for the
  /// next.
  @inlinable @inline(__always)
  func scan(word index: Int, _ start: Int, _ body: (Int, Int) -> Void) -> Int {
    let word = words[index]
    let base = index &<< 6
    var start = start
    var position = 0
    while true {
      if start < 0 {
        let rest = word &>> UInt64(position)
        if rest == 0 { return -1 }
        position += rest.trailingZeroBitCount
        start = base + position
      }
      let rest = ~word &>> UInt64(position)
      if rest == 0 { return start }
      position += rest.trailingZeroBitCount
      body(start, base + position)
      start = -1
    }
  }
}
