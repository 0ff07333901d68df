/// Runs on their way into a batch, as what they are in memory: a row of boundaries, where a run
/// starts, where it ends, where the next one starts, and so on.
///
/// A boundary is a bit that differs from the one below it, so `word ^ word << 1` has them all; and
/// runs that touch across words join by themselves. The bounds are bytes.
struct BoundaryOutput {
  typealias Batch = UnsafeMutablePointer<Int>

  private let batch: Batch
  /// Up to here what one word gives fits after the last boundary.
  private let bound: Batch
  private var next: Batch
  private let shift: Int
  /// 1 while the last run has no end, else 0.
  private var isOpen: UInt64 = 0
  /// The granule after the last one that was looked at.
  ///
  /// An open run ends here unless the next granule goes on with it.
  private var edge = 0
  private let positions: UnsafePointer<UInt64>

  /// Makes an output to `batch`, which holds `capacity` boundaries, more than 80.
  init(_ batch: Batch, capacity: Int, shift: Int) {
    self.batch = batch
    self.shift = shift
    next = batch
    // A word, what closes the run before it, and as much as a group may write too far.
    bound = batch + (capacity - 76)
    positions = BoundaryOutput.positionTable
  }

  var hasRoom: Bool {
    @inline(__always) get { next < bound }
  }

  /// Starts a batch, with the open run of the one before.
  mutating func begin() {
    if isOpen != 0 { batch[0] = next[-1] }
    next = batch + Int(isOpen)
  }

  /// Ends a batch and returns the number of runs in it; one that is open stays for the next batch,
  /// unless this is the last.
  mutating func finish(isLast: Bool) -> Int {
    if isLast { close() }
    return (next - batch) / 2
  }

  @inline(__always)
  private mutating func close() {
    next.pointee = edge &<< shift
    next += Int(isOpen)
    isOpen = 0
  }

  /// Adds set granules, which may touch the run before.
  @inline(__always)
  mutating func append(_ first: Int, _ end: Int) {
    if first != edge { close() }
    next.pointee = first &<< shift
    next += Int(1 &- isOpen)
    isOpen = 1
    edge = end
  }

  /// Adds the bits of a word, not zero, in which most often there is one alone.
  @inline(__always)
  mutating func appendFew(_ word: UInt64, base: Int) {
    if word & (word &- 1) | word &>> 63 | isOpen != 0 { return append(word, base: base) }
    let granule = base &+ word.trailingZeroBitCount
    next[0] = granule &<< shift
    next[1] = (granule &+ 1) &<< shift
    next += 2
    edge = base &+ 64
  }

  /// Adds the bits of a word whose first granule is `base`.
  @inline(__always)
  mutating func append(_ word: UInt64, base: Int) {
    if base != edge, isOpen != 0 { close() }
    var boundaries = word ^ (word &<< 1 | isOpen)
    isOpen = word &>> 63
    edge = base &+ 64
    // The first two without a branch: most words of a sparse bitmap have no more.
    next[0] = (base &+ boundaries.trailingZeroBitCount) &<< shift
    next += boundaries == 0 ? 0 : 1
    boundaries &= boundaries &- 1
    next[0] = (base &+ boundaries.trailingZeroBitCount) &<< shift
    next += boundaries == 0 ? 0 : 1
    boundaries &= boundaries &- 1
    if boundaries == 0 { return }
    let counts = BoundaryOutput.byteCounts(boundaries)
    if (counts &* 0x0101_0101_0101_0101) &>> 56 > 10 {
      return appendMany(boundaries, counts, base)
    }
    repeat {
      next.pointee = (base &+ boundaries.trailingZeroBitCount) &<< shift
      next += 1
      boundaries &= boundaries &- 1
    } while boundaries != 0
  }

  /// Adds the boundaries of a dense word, eight bits at a time and without a branch that depends on
  /// them: eight places are written, and as many are kept as there are.
  @inline(__always)
  private mutating func appendMany(_ boundaries: UInt64, _ counts: UInt64, _ base: Int) {
    let shifts = SIMD8<UInt64>(repeating: UInt64(shift))
    var start = UInt64(bitPattern: Int64(base)) &<< UInt64(shift)
    var rest = boundaries
    // Byte i is the number of boundaries in the bytes up to i: no group waits for the one before.
    var sums = counts &* 0x0101_0101_0101_0101
    var place = next
    let first = next
    for _ in 0..<8 {
      let places = UnsafeRawPointer(positions + Int(rest & 0xff)).load(as: SIMD8<UInt8>.self)
      let bytes =
        SIMD8<UInt64>(truncatingIfNeeded: places) &<< shifts &+ SIMD8<UInt64>(repeating: start)
      UnsafeMutableRawPointer(place).storeBytes(of: bytes, as: SIMD8<UInt64>.self)
      place = first + Int(sums & 0xff)
      start &+= 8 &<< UInt64(shift)
      rest &>>= 8
      sums &>>= 8
    }
    next = place
  }

  /// The number of bits in each byte, as a byte.
  @inline(__always)
  private static func byteCounts(_ word: UInt64) -> UInt64 {
    let pairs = word &- (word &>> 1 & 0x5555_5555_5555_5555)
    let nibbles = pairs & 0x3333_3333_3333_3333 &+ pairs &>> 2 & 0x3333_3333_3333_3333
    return (nibbles &+ nibbles &>> 4) & 0x0f0f_0f0f_0f0f_0f0f
  }

  /// For each byte the places of its bits, a byte each, from low to high.
  ///
  /// Lives as long as the process; nothing writes to it once it is made, so that threads may share
  /// it.
  nonisolated(unsafe) private static let positionTable: UnsafePointer<UInt64> = {
    let table = UnsafeMutablePointer<UInt64>.allocate(capacity: 256)
    for byte in 0..<256 {
      var places: UInt64 = 0
      var count: UInt64 = 0
      for bit in 0..<8 where byte >> bit & 1 != 0 {
        places |= UInt64(bit) << (8 * count)
        count += 1
      }
      table[byte] = places.littleEndian
    }
    return UnsafePointer(table)
  }()
}
