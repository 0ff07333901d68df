internal import BitmapWorkloads
internal import DirtyBitmap
internal import Primitives

/// One spread of bits in every bitmap that takes part.
final class BitmapStage {
  let suite: BitmapScan
  let subject: BitmapScan.Subject
  let bitmap: HierarchicalBitmap
  let flat: FlatBits
  let bitSet: BitSetPeer
  let leafCopy: LeafCopy
  /// What is changed, and brought back before each sample.
  let scratch: HierarchicalBitmap
  let runCount: Int
  #if HAS_ROARING
  let roaring: RoaringPeer?
  #endif

  init(_ suite: BitmapScan, _ subject: BitmapScan.Subject) throws {
    self.suite = suite
    self.subject = subject
    flat = subject.bits
    bitmap = try suite.makeBitmap(flat)
    bitSet = BitSetPeer(flat)
    leafCopy = LeafCopy(bitCount: flat.bitCount)
    scratch = try suite.makeBitmap()
    var runs = 0
    flat.forEachRun { _, _ in runs += 1 }
    runCount = runs
    #if HAS_ROARING
    roaring = RoaringPeer(flat)
    #endif
  }

  func contest(
    _ operation: String, unit: String = "call", _ unitCount: Int = 1, bar: Bar? = nil,
    _ contenders: [Contender]
  ) -> Contest {
    Contest(
      operation: operation, subject: subject.name, unit: unit, unitCount: unitCount,
      contenders: [leafCopy.contender] + contenders, yardstick: BitmapScan.yardstick, bar: bar)
  }

  var pattern: Pattern? { Pattern(rawValue: subject.name) }
}

/// Looking.
extension BitmapStage {
  var scan: Contest {
    let (bitmap, flat, bitSet) = (bitmap, flat, bitSet)
    var contenders = [
      Contender(Contender.ours) {
        var sum = 0
        bitmap.forEachRun { sum &+= $0.lower ^ $0.upper }
        consume(sum)
      },
      Contender("flat") {
        var sum = 0
        flat.forEachRun { sum &+= $0 ^ $1 }
        consume(sum)
      },
      Contender("BitSet") {
        var sum = 0
        bitSet.forEachRun { sum &+= $0 ^ $1 }
        consume(sum)
      },
    ]
    #if HAS_ROARING
    if let roaring {
      contenders.append(
        Contender("roaring") {
          var sum = 0
          roaring.forEachRun { sum &+= $0 ^ $1 }
          consume(sum)
        })
    }
    #endif
    return contest("scan", unit: "run", runCount, bar: scanBar, contenders)
  }

  private var scanBar: Bar? {
    switch pattern {
    case .sparse, .runs: .timesYardstick(2)
    case .half: .nanosecondsPerUnit(3)
    case .full, .empty: .nanoseconds(1000)
    case .holes: .nanoseconds(60_000)
    case nil: nil
    }
  }

  var count: Contest {
    let (bitmap, flat, bitSet) = (bitmap, flat, bitSet)
    var contenders = [
      Contender(Contender.ours) { consume(bitmap.count) },
      Contender("flat") { consume(flat.count) },
      Contender("BitSet") { consume(bitSet.count) },
    ]
    #if HAS_ROARING
    if let roaring { contenders.append(Contender("roaring") { consume(roaring.count) }) }
    #endif
    return contest("count", bar: nil, contenders)
  }

  /// What a copier does: take a run, so that no one else will, until there is none.
  var scanAndClear: Contest {
    let (bitmap, scratch) = (bitmap, scratch)
    let ours = Contender(
      Contender.ours,
      prepare: {
        scratch.resetAll()
        try scratch.merge(bitmap)
      }
    ) {
      var rest = scratch.bounds
      var sum = 0
      while let run = scratch.takeNextRun(in: rest) {
        sum &+= run.lower ^ run.upper
        rest = ByteRange(run.upper, rest.upper)
      }
      consume(sum)
    }
    return contest("scan and clear", unit: "run", runCount, [ours])
  }
}
