import Primitives
import Qcow2
import Testing

@Suite struct RefcountBlockTests {
  /// Blocks of images of `qemu-img create -o refcount_bits=2^order` with six clusters in use.
  static let sixInUse = [
    "3f 00*63", "5505 00*62", "111111 00*61", "010101010101 00*58",
    "0001000100010001 00010001 00*52",
    "00000001 00000001 00000001 00000001 00000001 00000001 00*40",
    "0000000000000001 0000000000000001 0000000000000001 0000000000000001 0000000000000001 "
      + "0000000000000001 00*16",
  ]

  @Test func qemusBlocksReadAsOnesAndZeros() {
    for (order, dump) in Self.sixInUse.enumerated() {
      let block = RefcountBlock(order: order)
      let bytes = hex(dump)
      let count = block.entryCount(byteCount: bytes.count)
      #expect(count == 512 >> order)
      let values = (0..<count).map { block.value(at: $0, in: bytes.span.bytes) }
      let expected = (0..<count).map { $0 < 6 ? UInt64(1) : 0 }
      #expect(values == expected, "order \(order)")
      let zero = block.firstZero(in: bytes.span.bytes, range: 0..<count)
      #expect(zero == 6, "order \(order)")
    }
  }

  @Test func qemusBlocksAreWrittenByteForByte() {
    for (order, dump) in Self.sixInUse.enumerated() {
      let block = RefcountBlock(order: order)
      let bytes = stored([UInt64](repeating: 1, count: 6), block, byteCount: 64)
      #expect(bytes == hex(dump), "order \(order)")
    }
  }

  @Test func everyValueOfAWidthIsKeptBesideItsNeighbours() {
    for order in 0...6 {
      let block = RefcountBlock(order: order)
      let maximum = block.maximum
      #expect(maximum == [1, 3, 15, 255, 65535, 0xffff_ffff, .max][order])
      let samples = Set([0, 1, maximum / 2, maximum - 1, maximum, maximum / 2 + 1]).sorted()
      for value in samples where value <= maximum {
        for neighbour in [0, maximum] {
          var values = [UInt64](repeating: neighbour, count: 9)
          values[4] = value
          let bytes = stored(values, block, byteCount: 128)
          let read = (0..<9).map { block.value(at: $0, in: bytes.span.bytes) }
          #expect(read == values, "order \(order)")
        }
      }
    }
  }

  private func stored(_ values: [UInt64], _ block: RefcountBlock, byteCount: Int) -> [UInt8] {
    // Starts from all ones, so that stored zeros are seen too.
    var bytes = [UInt8](repeating: 0xff, count: byteCount)
    var elements = bytes.mutableSpan
    var span = elements.mutableBytes
    for index in 0..<block.entryCount(byteCount: byteCount) {
      block.store(index < values.count ? values[index] : 0, at: index, in: &span)
    }
    return bytes
  }

  /// Random values: zeros and others in runs, so that runs cross words.
  private func randomValues(
    _ block: RefcountBlock, count: Int, _ numbers: inout SeededNumbers
  ) -> [UInt64] {
    var values: [UInt64] = []
    while values.count < count {
      let length = Int.random(in: 1...90, using: &numbers)
      let isZero = Bool.random(using: &numbers)
      for _ in 0..<length {
        values.append(isZero ? 0 : UInt64.random(in: 1...block.maximum, using: &numbers))
      }
    }
    return Array(values.prefix(count))
  }

  @Test func scansFindWhatALoopFinds() {
    for seed in 0..<60 as Range<UInt64> {
      var numbers = SeededNumbers(seed: seed)
      let block = RefcountBlock(order: Int(seed % 7))
      let byteCount = 128
      let count = block.entryCount(byteCount: byteCount)
      let values = randomValues(block, count: count, &numbers)
      let bytes = stored(values, block, byteCount: byteCount)
      let span = bytes.span.bytes
      for _ in 0..<25 {
        let bounds = [
          Int.random(in: 0...count, using: &numbers), Int.random(in: 0...count, using: &numbers),
        ].sorted()
        let range = bounds[0]..<bounds[1]
        let zero = block.firstZero(in: span, range: range)
        #expect(zero == range.first { values[$0] == 0 }, "seed \(seed), \(range)")
        let nonzero = block.firstNonzero(in: span, range: range)
        #expect(nonzero == range.first { values[$0] != 0 }, "seed \(seed), \(range)")
        let last = block.lastNonzero(in: span, range: range)
        #expect(last == range.last { values[$0] != 0 }, "seed \(seed), \(range)")
        let used = block.nonzeroCount(in: span, range: range)
        #expect(used == range.count { values[$0] != 0 }, "seed \(seed), \(range)")
        let tail = block.zeroTail(in: span, range: range)
        #expect(tail == (last.map { $0 + 1 } ?? range.lowerBound), "seed \(seed), \(range)")
        let wanted = Int.random(in: 1...60, using: &numbers)
        let run = block.firstZeroRun(of: wanted, in: span, range: range)
        #expect(run == naiveRun(values, of: wanted, range), "seed \(seed), \(range), \(wanted)")
      }
    }
  }

  private func naiveRun(_ values: [UInt64], of count: Int, _ range: Range<Int>) -> Range<Int>? {
    var start = range.lowerBound
    while start < range.upperBound {
      var end = start
      while end < range.upperBound, values[end] == 0 { end += 1 }
      if end - start >= count { return start..<end }
      start = end + 1
    }
    return nil
  }

  @Test func aCountWhoseLowByteIsZeroIsNotZero() {
    // Big-endian 0x0100 is read as two bytes 01 00: a scan by bytes would take it for free.
    let bytes = hex("0100 8000 00*4")
    let found = RefcountBlock(order: 4).firstZero(in: bytes.span.bytes, range: 0..<4)
    #expect(found == 2)
    let wide = hex("8000000000000000 00*8")
    #expect(RefcountBlock(order: 6).firstZero(in: wide.span.bytes, range: 0..<2) == 1)
    #expect(RefcountBlock(order: 6).value(at: 0, in: wide.span.bytes) == 1 << 63)
  }

  @Test func aTableEntryIsSoundOrNot() {
    let geometry = Geometry(clusterBits: 16)
    let entry = RefcountTableEntry(rawValue: 0x20000)
    #expect(entry.checkedBlock(geometry: geometry) == HostOffset(0x20000))
    #expect(entry == RefcountTableEntry(block: HostOffset(0x20000)))
    #expect(RefcountTableEntry.none.isNone)
    #expect(RefcountTableEntry(rawValue: 0x1ff).isNone)
    let damaged: [UInt64] = [0, 0x20001, 0x20200, 1 << 63, 1 << 56, 0x1ff]
    for raw in damaged {
      let damagedEntry = RefcountTableEntry(rawValue: raw)
      #expect(damagedEntry.checkedBlock(geometry: geometry) == nil, "\(raw)")
    }
    #expect(RefcountTableEntry(rawValue: 0x20200).block == HostOffset(0x20200))
    #expect(RefcountTableEntry(rawValue: 1 << 63).block == nil)
    #expect(RefcountTableEntry(rawValue: 0x20001).hasReservedBits)
  }
}
