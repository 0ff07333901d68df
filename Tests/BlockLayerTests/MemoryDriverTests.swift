import BlockLayer
import Execution
import Primitives
import Testing

@Suite struct MemoryDriverTests {
  @Test(arguments: 0..<8) func itHoldsWhatAnArrayWould(seed: UInt64) async throws {
    var random = SeededGenerator(seed: seed)
    let driver = MemoryDriver(length: 0, growsOnWrite: true)
    var model: [UInt8] = []
    for step in 0..<150 {
      let lower = Int.random(in: 0..<400_000, using: &random)
      let count = Int.random(in: 1..<150_000, using: &random)
      let range = ByteRange(offset: lower, count: count)
      switch Int.random(in: 0..<6, using: &random) {
      case 0, 1:
        let bytes = pattern(count, from: Int.random(in: 0..<1000, using: &random))
        grow(&model, range.upper)
        model.replaceSubrange(lower..<range.upper, with: bytes)
        try await driver.write(bytes, at: lower)
      case 2:
        grow(&model, range.upper)
        model.replaceSubrange(lower..<range.upper, with: [UInt8](repeating: 0, count: count))
        try await driver.writeZeroes(range, mayUnmap: true)
      case 3:
        try await driver.resize(to: lower)
        grow(&model, lower)
        model.removeLast(model.count - lower)
      default:
        let expected = model.dropFirst(lower).prefix(count)
        let read = try await driver.bytes(lower, count)
        #expect(same(read.prefix(expected.count), expected), "seed \(seed), step \(step)")
        #expect(isZero(read.dropFirst(expected.count)), "seed \(seed), step \(step)")
      }
      #expect(driver.length == model.count, "seed \(seed), step \(step)")
    }
    try await checkStatus(driver, model, seed)
  }

  private func grow(_ model: inout [UInt8], _ count: Int) {
    if model.count < count { model += [UInt8](repeating: 0, count: count - model.count) }
  }

  /// Every run has to be one, and zero where it says so; a chunk all of zeros may be kept.
  private func checkStatus(_ driver: MemoryDriver, _ model: [UInt8], _ seed: UInt64) async throws {
    var position = 0
    while position < model.count {
      let status = try await driver.status(ByteRange(position, model.count))
      #expect(status.count > 0 && status.isZero != status.isData && status.offset == position)
      if status.isZero {
        #expect(isZero(model[position..<position + status.count]), "seed \(seed)")
      }
      position += status.count
    }
  }

  @Test func memoryIsTakenByDataOnlyAndGivenBack() async throws {
    let driver = MemoryDriver(length: 1 << 46)
    try await driver.write([UInt8](repeating: 0, count: 100_000), at: 5)
    #expect(driver.allocatedBytes == 0)
    try await driver.write([1], at: 1 << 45)
    try await driver.write([1], at: (1 << 46) - 1)
    #expect(driver.allocatedBytes == 131_072)
    let status = try await driver.status(ByteRange(0, 1 << 46))
    #expect(status.isZero && status.count == 1 << 45)
    try await driver.discard(ByteRange(0, 1 << 46))
    #expect(driver.allocatedBytes == 0)
  }

  @Test func theLargestSizesDoNotOverflow() async throws {
    let driver = MemoryDriver(length: .max)
    try await driver.write([7], at: .max - 1)
    #expect(try await driver.bytes(.max - 2, 2) == [0, 7])
    let status = try await driver.status(ByteRange(.max - 1, .max))
    #expect(status.isData && status.count == 1)
  }
}
