import DirtyBitmap
import Primitives
import Testing

/// Random sequences on bitmaps with two to five summary levels, against lists of ranges.
@Suite struct DeepModelTests {
  @Test(arguments: 0..<8)
  func bitmapsOfManyLevelsAgreeWithTheModelAfterEachStep(_ block: Int) throws {
    for index in 0..<12 {
      var sequence = try DeepSequence(seed: UInt64(7000 + block * 100 + index))
      if try !sequence.run(steps: 20) { return }
    }
  }
}

/// One life of a huge bitmap beside its model.
struct DeepSequence {
  /// Granules: at and around what a root of two, three, four levels holds, and the limit.
  static let counts = [
    1 << 18, 1 << 18 + 1, 300_000, 1 << 20 + 77, 1 << 24, 1 << 24 + 4097, 1 << 30 - 1, 1 << 36 + 5,
  ]

  private var random: SeededGenerator
  private var model: IntervalModel
  private let bitmap: HierarchicalBitmap
  private let seed: UInt64
  private var log: [String] = []

  init(seed: UInt64) throws {
    self.seed = seed
    random = SeededGenerator(seed: seed)
    model = IntervalModel(granuleCount: random.pick(DeepSequence.counts))
    bitmap = try HierarchicalBitmap(size: model.granuleCount * 512, granularity: 512)
    log.append("\(model.granuleCount) granules")
  }

  mutating func run(steps: Int) throws -> Bool {
    for _ in 0..<steps {
      try step()
      let problems = bitmap.checkInvariants() + differences()
      if problems.isEmpty { continue }
      Issue.record("seed \(seed): \(problems.joined(separator: "; ")) after \(log)")
      return false
    }
    return true
  }

  private mutating func step() throws {
    switch random.below(16) {
    case 0..<5: assign(true, range())
    case 5..<9: assign(false, range())
    case 9: assignAll()
    case 10, 11: loadPiece()
    case 12: loadUniform()
    case 13: try merge()
    case 14: take()
    default: try resizeOrCopy()
    }
  }

  /// A range that likes to begin and end where words of some level do.
  private mutating func range() -> Range<Int> {
    let lower = place()
    if random.chance(40) { return lower..<lower + 1 + random.below(200) }
    let upper = place()
    return min(lower, upper)..<max(lower, upper)
  }

  private mutating func place() -> Int {
    if random.chance(15) { return random.pick([0, model.granuleCount]) }
    let unit = 1 << (6 * random.below(5))
    let near = random.below(model.granuleCount / unit + 1) * unit + random.pick([-1, 0, 0, 0, 1])
    return max(0, min(near, model.granuleCount))
  }

  private func bytes(_ granules: Range<Int>) -> ByteRange {
    ByteRange(granules.lowerBound * 512, granules.upperBound * 512)
  }

  private mutating func assign(_ value: Bool, _ range: Range<Int>) {
    log.append("\(value) \(range)")
    if value { bitmap.set(bytes(range)) } else { bitmap.reset(bytes(range)) }
    model.assign(value, range)
  }

  private mutating func assignAll() {
    let value = random.chance(50)
    log.append("all \(value)")
    if value { bitmap.setAll() } else { bitmap.resetAll() }
    model.assign(value, 0..<model.granuleCount)
  }

  /// Whole words, some blocks of them uniform and one of random bits.
  private mutating func loadPiece() {
    let first = place() / 64 * 64
    let blocks = 1 + random.below(4)
    var piece: [UInt8] = []
    for _ in 0..<blocks {
      let kind = random.below(3)
      var block = [UInt8](repeating: kind == 1 ? 0xff : 0, count: 512)
      if kind == 2 {
        for index in 0..<40 { block[index * 12] = UInt8(truncatingIfNeeded: random.next()) }
      }
      piece += block
    }
    log.append("load \(piece.count) bytes at granule \(first)")
    bitmap.deserialize(from: piece.span.bytes, atByte: first / 8)
    model.assign(false, first..<first + piece.count * 8)
    for bit in 0..<piece.count * 8 where piece[bit / 8] >> UInt8(bit % 8) & 1 != 0 {
      if bit % 64 == 0, piece[bit / 8..<bit / 8 + 8].allSatisfy({ $0 == 0xff }) {
        model.assign(true, first + bit..<first + bit + 64)
      } else if !piece[bit / 64 * 8..<bit / 64 * 8 + 8].allSatisfy({ $0 == 0xff }) {
        model.assign(true, first + bit..<first + bit + 1)
      }
    }
  }

  private mutating func loadUniform() {
    let range = place() / 64 * 64..<model.granuleCount
    let cut = range.lowerBound..<min(range.upperBound, range.lowerBound + 64 * random.below(20_000))
    let value = random.chance(50)
    log.append("load \(value) \(cut)")
    let chunk = ByteRange(cut.lowerBound / 8, (cut.upperBound + 7) / 8)
    if value { bitmap.deserializeOnes(chunk) } else { bitmap.deserializeZeroes(chunk) }
    model.assign(value, cut)
  }

  private mutating func merge() throws {
    let other = try HierarchicalBitmap(size: bitmap.size, granularity: 512)
    for _ in 0..<1 + random.below(12) {
      let range = range()
      log.append("merge \(range)")
      other.set(bytes(range))
      model.assign(true, range)
    }
    try bitmap.merge(other)
  }

  private mutating func take() {
    let window = range()
    log.append("take \(window)")
    let expected = model.runs(in: window).first
    let taken = bitmap.takeNextRun(in: bytes(window))
    if taken != expected.map(bytes) { log.append("took \(String(describing: taken))") }
    if let expected { model.assign(false, expected) }
  }

  private mutating func resizeOrCopy() throws {
    if random.chance(50) {
      let count = random.pick(DeepSequence.counts + [0, 70, 5000])
      log.append("resize \(count)")
      try bitmap.resize(to: count * 512)
      model.resize(to: count)
      return
    }
    log.append("copy")
    let copy = try bitmap.copy()
    if !copy.isEqual(to: bitmap) { log.append("the copy differs") }
    bitmap.resetAll()
    try bitmap.merge(copy)
  }

  private mutating func differences() -> [String] {
    var found: [String] = []
    func expect(_ isTrue: Bool, _ name: String) { if !isTrue { found.append(name) } }
    expect(bitmap.count == model.count, "count \(bitmap.count), not \(model.count)")
    expect(bitmap.runs() == model.ranges.map(bytes), "runs")
    let window = range()
    let runs = model.runs(in: window)
    expect(bitmap.runs(in: bytes(window)) == runs.map(bytes), "runs in \(window)")
    expect(bitmap.nextRun(in: bytes(window)) == runs.first.map(bytes), "nextRun in \(window)")
    let startsDirty = runs.first?.lowerBound == window.lowerBound
    let clear = startsDirty ? runs.first?.upperBound ?? 0 : window.lowerBound
    let end = min(window.upperBound, model.granuleCount)
    let firstClear = clear < end ? clear * 512 : nil
    expect(bitmap.nextClear(in: bytes(window)) == firstClear, "nextClear in \(window)")
    let granule = min(place(), max(model.granuleCount - 1, 0))
    let isDirty = model.ranges.contains { $0.contains(granule) }
    expect(bitmap.contains(granule * 512) == isDirty, "contains \(granule)")
    let first = place() / 64 * 64
    let words = first..<first + 64 * (1 + random.below(300))
    let bytes = bitmap.serialized(from: first / 8, count: words.count / 8)
    expect(bytes == model.serialized(words), "serialised \(words)")
    return found
  }
}
