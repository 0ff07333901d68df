internal import BitCollections

/// swift-collections' `BitSet`, an uncompressed set of integers.
public final class BitSetPeer {
  private var members: BitSet
  private let bitCount: Int

  /// Takes over the bits of `bits`.
  public init(_ bits: FlatBits) {
    bitCount = bits.bitCount
    members = BitSet(words: (0..<bits.wordCount).map { UInt(bits.words[$0]) })
  }

  /// Makes the set hold its last bit alone, with memory for all of them.
  public func makeEmpty() {
    members = BitSet()
    members.insert(bitCount - 1)
  }

  /// Makes the set hold every bit.
  public func makeFull() { members = BitSet(0..<bitCount) }

  /// Takes over the members of `other`, and the last bit, in memory of its own.
  public func copy(_ other: BitSetPeer) {
    members = other.members
    // The first change copies what both share.
    members.insert(bitCount - 1)
  }

  /// Sets all of `points`.
  public func insert(_ points: [Int]) {
    for point in points { members.insert(point) }
  }

  /// Sets all of `ranges`.
  public func insert(_ ranges: [(lower: Int, upper: Int)]) {
    for range in ranges { members.formUnion(range.lower..<range.upper) }
  }

  /// Clears all of `ranges`.
  public func remove(_ ranges: [(lower: Int, upper: Int)]) {
    for range in ranges { members.subtract(range.lower..<range.upper) }
  }

  /// The first member, -1 without any.
  public var first: Int { members.first ?? -1 }

  /// The number of members, counted.
  public var count: Int { members.count }

  /// Sets what is set in `other`.
  public func formUnion(_ other: BitSetPeer) { members.formUnion(other.members) }

  /// Calls `body` with each run: members in order, joined.
  public func forEachRun(_ body: (Int, Int) -> Void) {
    var lower = -1
    var upper = -1
    for member in members {
      if member != upper {
        if lower >= 0 { body(lower, upper) }
        lower = member
      }
      upper = member + 1
    }
    if lower >= 0 { body(lower, upper) }
  }
}
