import BlockTestKit
import Execution
import Primitives
import Testing

@Suite struct OperationSequenceTests {
  private func operations(
    _ seed: UInt64, length: Int = 100_000, alignment: Int = 1
  ) -> [GuestOperation] {
    var shape = OperationSequence.Shape(length: length, cluster: 4096)
    shape.alignment = alignment
    return Array(
      OperationSequence(count: 2000, shape: shape, random: SeededGenerator(seed: seed)))
  }

  @Test func oneSeedGivesTheSameOperationsAndAnotherGivesOthers() {
    #expect(operations(1) == operations(1))
    #expect(operations(1) != operations(2))
  }

  @Test(arguments: [1, 511, 512, 4097, 100_000])
  func rangesAreNotEmptyAndLieInsideTheDisk(length: Int) {
    for operation in operations(3, length: length) where operation != .flush {
      #expect(!operation.range.isEmpty && operation.range.upper <= length, "\(operation)")
    }
  }

  @Test func theMixVisitsBordersPartsAndTheSamePlacesAgain() {
    let ranges = operations(4).map(\.range).filter { !$0.isEmpty }
    #expect(ranges.contains { $0.lower % 4096 == 0 && $0.count % 4096 == 0 })
    #expect(ranges.contains { $0.lower / 4096 != ($0.upper - 1) / 4096 && $0.lower % 512 != 0 })
    #expect(ranges.contains { $0.upper == 100_000 })
    #expect(ranges.contains { $0.count < 512 })
    let clusters = Dictionary(grouping: ranges) { $0.lower / 4096 }.mapValues(\.count)
    #expect(clusters.values.max() ?? 0 > 4 * ranges.count / clusters.count / 2)
  }

  @Test func alignedRangesAreAligned() {
    for operation in operations(5, length: 1 << 20, alignment: 512) {
      #expect(operation.range.lower % 512 == 0 && operation.range.upper % 512 == 0)
    }
  }

  @Test func writesAreNumberedOnceEach() {
    let numbers = operations(6).compactMap { operation -> Int? in
      if case .write(_, let number) = operation { number } else { nil }
    }
    #expect(numbers == Array(1...numbers.count))
  }

  @Test func everySectorOfEveryWriteLooksDifferent() {
    var seen: Set<[UInt8]> = []
    for write in 1...20 {
      for sector in 0..<20 {
        let range = ByteRange(offset: sector * Sector.size, count: Sector.size)
        seen.insert(WritePattern.bytes(range, write: write))
      }
    }
    #expect(seen.count == 400)
  }

  @Test func thePatternOfAPartIsAPartOfThePattern() {
    let whole = WritePattern.bytes(ByteRange(0, 2048), write: 3)
    let part = WritePattern.bytes(ByteRange(701, 1303), write: 3)
    #expect(part == Array(whole[701..<1303]))
  }
}
