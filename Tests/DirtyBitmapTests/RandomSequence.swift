import DirtyBitmap
import Primitives
import Testing

/// One random life of a bitmap beside its model: an operation, then everything is compared.
struct RandomSequence {
  private var random: SeededGenerator
  private var model: ModelBitmap
  private let bitmap: HierarchicalBitmap
  private var log: [String] = []
  private let seed: UInt64

  init(seed: UInt64, granuleCounts: [Int], granularities: [Int]) throws {
    self.seed = seed
    random = SeededGenerator(seed: seed)
    let granularity = random.pick(granularities)
    let size = RandomSequence.size(random.pick(granuleCounts), granularity, &random)
    model = ModelBitmap(size: size, granularity: granularity)
    bitmap = try HierarchicalBitmap(size: size, granularity: granularity)
    log.append("size \(size) granularity \(granularity)")
  }

  /// A size of so many granules, whose last one is mostly not whole.
  private static func size(
    _ granules: Int, _ granularity: Int, _ random: inout SeededGenerator
  ) -> Int {
    guard granules > 0 else { return 0 }
    return granules * granularity - (random.chance(40) ? 0 : random.below(granularity))
  }

  /// Runs `steps` operations; false, with what happened recorded as an issue, when one goes wrong.
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
    switch random.below(20) {
    case 0..<6: change(true)
    case 6..<10: change(false)
    case 10: fill()
    case 11: try resize()
    case 12, 13: try merge()
    case 14, 15: take()
    case 16, 17: deserialize()
    case 18: deserializeUniform()
    default: try replaceByCopy()
    }
  }

  /// A range that likes the edges of granules, of words, and of the disk.
  private mutating func range() -> ByteRange {
    var bounds = [bound(), bound()].sorted()
    if random.chance(30) { bounds[1] = bounds[0] + random.below(3 * model.granularity) }
    return ByteRange(bounds[0], bounds[1])
  }

  private mutating func bound() -> Int {
    let size = max(model.size, 1)
    if random.chance(10) { return random.pick([0, size, size + 1, size * 2]) }
    if random.chance(40) { return random.below(size + 1) }
    let unit = model.granularity * random.pick([1, 1, 64, 64, 4096])
    return max(0, random.below(size / unit + 2) * unit + random.pick([-1, 0, 0, 0, 1]))
  }

  private mutating func change(_ value: Bool) {
    let range = range()
    log.append("\(value ? "set" : "reset") \(range)")
    if value { bitmap.set(range) } else { bitmap.reset(range) }
    if value { model.set(range) } else { model.reset(range) }
  }

  private mutating func fill() {
    let value = random.chance(50)
    log.append(value ? "setAll" : "resetAll")
    if value { bitmap.setAll() } else { bitmap.resetAll() }
    model.fill(value)
  }

  private mutating func resize() throws {
    let granules = random.pick([
      0, 1, model.granules.count / 2, model.granules.count, model.granules.count + 1,
      min(model.granules.count * 2, 6000),
    ])
    let size = RandomSequence.size(granules, model.granularity, &random)
    log.append("resize \(size)")
    try bitmap.resize(to: size)
    model.resize(to: size)
  }

  private mutating func merge() throws {
    let granularity =
      random.chance(60) ? model.granularity : random.pick([512, 1024, 4096, 1 << 20])
    if ModelBitmap.granuleCount(model.size, granularity) > 10_000 { return }
    var otherModel = ModelBitmap(size: model.size, granularity: granularity)
    let other = try HierarchicalBitmap(size: model.size, granularity: granularity)
    for _ in 0..<random.below(random.chance(20) ? 200 : 6) {
      let range = range()
      let isSet = random.chance(70)
      if isSet { other.set(range) } else { other.reset(range) }
      if isSet { otherModel.set(range) } else { otherModel.reset(range) }
    }
    log.append("merge \(otherModel.runs(true, in: ByteRange(0, model.size))) at \(granularity)")
    try bitmap.merge(other)
    model.merge(otherModel)
  }

  private mutating func take() {
    let window = range()
    let limit = random.chance(50) ? Int.max : 1 + random.below(5 * model.granularity)
    log.append("take \(window) \(limit)")
    let inside = model.inside(window)
    var expected: ByteRange?
    if let first = inside.first(where: { model.granules[$0] }) {
      var end = first
      while end < inside.upperBound, model.granules[end],
        end - first < max(1, limit / model.granularity)
      {
        model.granules[end] = false
        end += 1
      }
      expected = ByteRange(model.bytes(first).lower, model.bytes(end - 1).upper)
    }
    let taken = bitmap.takeNextRun(in: window, maxLength: limit)
    if taken != expected {
      log.append("took \(String(describing: taken)), not \(String(describing: expected))")
      model.fill(model.count == 0)  // cannot agree any more
    }
  }

  private mutating func deserialize() {
    let words = bitmap.serializedByteCount / 8
    let offset = random.below(words + 2) * 8
    let count = random.below(random.chance(30) ? 150 : 4) * 8
    let kind = random.below(4)
    var bytes = [UInt8](repeating: kind == 0 ? 0xff : 0, count: count)
    if kind >= 2 {
      for index in bytes.indices where kind == 2 || random.chance(5) {
        bytes[index] = UInt8(truncatingIfNeeded: random.next())
      }
    }
    log.append("deserialize \(count) bytes of kind \(kind) at \(offset)")
    bitmap.deserialize(from: bytes.span.bytes, atByte: offset)
    model.deserialize(bytes, at: offset)
  }

  private mutating func deserializeUniform() {
    let bytes = ByteRange(
      offset: random.below(bitmap.serializedByteCount + 2), count: random.below(700))
    let value = random.chance(50)
    log.append("deserialize \(value) \(bytes)")
    if value { bitmap.deserializeOnes(bytes) } else { bitmap.deserializeZeroes(bytes) }
    model.deserialize(Array(repeating: value ? 0xff : 0, count: bytes.count), at: bytes.lower)
  }

  private mutating func replaceByCopy() throws {
    log.append("copy")
    let copy = try bitmap.copy()
    if !copy.isEqual(to: bitmap) || !copy.checkInvariants().isEmpty {
      log.append("the copy differs: \(copy.checkInvariants())")
      model.fill(model.count == 0)
    }
    bitmap.resetAll()
    try bitmap.merge(copy)
  }

  /// Everything that can be asked, of the whole and of a random window.
  private mutating func differences() -> [String] {
    var found: [String] = []
    func expect(_ isTrue: Bool, _ name: String) { if !isTrue { found.append(name) } }
    expect(bitmap.size == model.size && bitmap.granuleCount == model.granules.count, "geometry")
    expect(bitmap.count == model.count, "count \(bitmap.count), not \(model.count)")
    expect(bitmap.isEmpty == (model.count == 0), "isEmpty")
    expect(bitmap.isFull == (model.count == model.granules.count), "isFull")
    let window = random.chance(30) ? ByteRange(0, model.size) : range()
    let dirty = model.runs(true, in: window)
    let clear = model.runs(false, in: window)
    expect(bitmap.runs(in: window) == dirty, "runs in \(window)")
    expect(bitmap.nextDirty(in: window) == dirty.first?.lower, "nextDirty in \(window)")
    expect(bitmap.nextClear(in: window) == clear.first?.lower, "nextClear in \(window)")
    let limit = 1 + random.below(10 * model.granularity)
    expect(
      bitmap.nextRun(in: window, maxLength: limit) == dirty.first?.prefix(limit), "nextRun")
    expect(bitmap.nextRun(in: window) == dirty.first, "nextRun")
    expect(bitmap.nextClearRun(in: window) == clear.first, "nextClearRun")
    let offset = bound()
    let isDirty = offset < model.size && model.granules[offset / model.granularity]
    expect(bitmap.contains(offset) == isDirty, "contains \(offset)")
    expect(cursorRuns(window) == dirty, "cursor in \(window)")
    checkSerialized(expect)
    return found
  }

  private func cursorRuns(_ window: ByteRange) -> [ByteRange] {
    var cursor = RunCursor(window)
    var runs: [ByteRange] = []
    while let run = cursor.next(in: bitmap) { runs.append(run) }
    return runs
  }

  private mutating func checkSerialized(_ expect: (Bool, String) -> Void) {
    let expected = model.serialized
    expect(bitmap.serializedByteCount == expected.count, "serializedByteCount")
    let offset = random.below(expected.count / 8 + 2) * 8
    let count = random.chance(50) ? expected.count : random.below(80) * 8
    var bytes = [UInt8](repeating: 0x5a, count: count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    bitmap.serialize(atByte: offset, into: &raw)
    let padded = expected.dropFirst(offset).prefix(count)
    let zeros = [UInt8](repeating: 0, count: count - padded.count)
    expect(bytes == Array(padded) + zeros, "serialize \(count) bytes at \(offset)")
    let bits = model.granules.dropFirst(offset * 8).prefix(count * 8)
    let content = bitmap.chunkContent(ByteRange(offset: offset, count: count))
    let isUniform = bits.allSatisfy { $0 == bits.first }
    expect(
      content == (!isUniform ? .mixed : bits.first == true ? .allOne : .allZero),
      "chunkContent of \(count) bytes at \(offset)")
  }
}
