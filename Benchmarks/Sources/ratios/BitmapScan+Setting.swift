internal import BitmapWorkloads
internal import DirtyBitmap
internal import Primitives

/// Setting and clearing: contests that begin with an empty or a full bitmap.
extension BitmapScan {
  /// All of them.
  func settingContests() throws -> [Contest] {
    [
      try coldPoints(isNew: true), try coldPoints(isNew: false), try cachedPoints(), try rangeSet(),
      try rangeReset(), try fill(),
    ]
  }

  private var leafCopy: Contender { LeafCopy(bitCount: granuleCount).contender }

  private func contest(
    _ operation: String, _ subject: String, unit: String, _ unitCount: Int, bar: Bar? = nil,
    _ contenders: [Contender]
  ) -> Contest {
    Contest(
      operation: operation, subject: subject, unit: unit, unitCount: unitCount,
      contenders: contenders + [leafCopy], yardstick: BitmapScan.yardstick, bar: bar)
  }

  /// Random writes of 4 KiB all over the disk, each to a line that no cache near the processor
  /// holds; into a new bitmap, or one that was used and reset.
  private func coldPoints(isNew: Bool) throws -> Contest {
    let points = Pattern.points(granuleCount, count: 1 << 20)
    let writes = points.map { ByteRange(offset: $0 * granularity, count: min(granularity, 4096)) }
    var bitmap = try makeBitmap()
    let flat = FlatBits(bitCount: granuleCount)
    let empty = FlatBits(bitCount: granuleCount)
    let bitSet = BitSetPeer(empty)
    let renew = { if isNew { bitmap = try self.makeBitmap() } else { bitmap.resetAll() } }
    var contenders = [
      Contender(Contender.ours, prepare: renew) { for write in writes { bitmap.set(write) } },
      Contender("flat", prepare: { flat.copy(empty) }) { for point in points { flat.set(point) } },
      Contender("BitSet", prepare: { bitSet.makeEmpty() }) { bitSet.insert(points) },
    ]
    #if HAS_ROARING
    if let roaring = RoaringPeer(empty) {
      contenders.append(
        Contender("roaring", prepare: { roaring.makeEmpty() }) { roaring.insert(points) })
    }
    #endif
    return contest(
      "set points", isNew ? "cold" : "cold again", unit: "point", points.count,
      bar: .nanosecondsPerUnit(50), contenders)
  }

  /// Writes of 4 KiB to a few granules that are set already.
  private func cachedPoints() throws -> Contest {
    let points = Pattern.points(granuleCount, count: 256)
    let writes = points.map { ByteRange(offset: $0 * granularity, count: min(granularity, 4096)) }
    let bitmap = try makeBitmap()
    for write in writes { bitmap.set(write) }
    let flat = FlatBits(bitCount: granuleCount)
    let bitSet = BitSetPeer(flat)
    bitSet.makeEmpty()
    var contenders = [
      Contender(Contender.ours) { for write in writes { bitmap.set(write) } },
      Contender("flat") { for point in points { flat.set(point) } },
      Contender("BitSet") { bitSet.insert(points) },
    ]
    #if HAS_ROARING
    if let roaring = RoaringPeer(flat) {
      contenders.append(Contender("roaring") { roaring.insert(points) })
    }
    #endif
    return contest(
      "set points", "cached", unit: "point", points.count, bar: .nanosecondsPerUnit(4), contenders)
  }

  private func rangeSet() throws -> Contest {
    let ranges = Pattern.ranges(granuleCount)
    let writes = ranges.map { bytes($0) }
    let bitmap = try makeBitmap()
    let empty = FlatBits(bitCount: granuleCount)
    let flat = FlatBits(bitCount: granuleCount)
    let bitSet = BitSetPeer(empty)
    var contenders = [
      Contender(Contender.ours, prepare: { bitmap.resetAll() }) {
        for write in writes { bitmap.set(write) }
      },
      Contender("flat", prepare: { flat.copy(empty) }) {
        for range in ranges { flat.assign(true, range.lower, range.upper) }
      },
      Contender("BitSet", prepare: { bitSet.makeEmpty() }) { bitSet.insert(ranges) },
    ]
    #if HAS_ROARING
    if let roaring = RoaringPeer(empty) {
      contenders.append(
        Contender("roaring", prepare: { roaring.makeEmpty() }) { roaring.insert(ranges) })
    }
    #endif
    return contest("set ranges", "empty", unit: "range", ranges.count, contenders)
  }

  private func rangeReset() throws -> Contest {
    let ranges = Pattern.ranges(granuleCount)
    let writes = ranges.map { bytes($0) }
    let bitmap = try makeBitmap()
    let bitCount = granuleCount
    let full = Pattern.full.bits(bitCount)
    let flat = FlatBits(bitCount: bitCount)
    let bitSet = BitSetPeer(full)
    var contenders = [
      Contender(Contender.ours, prepare: { bitmap.setAll() }) {
        for write in writes { bitmap.reset(write) }
      },
      Contender("flat", prepare: { flat.copy(full) }) {
        for range in ranges { flat.assign(false, range.lower, range.upper) }
      },
      Contender("BitSet", prepare: { bitSet.makeFull() }) { bitSet.remove(ranges) },
    ]
    #if HAS_ROARING
    if let roaring = RoaringPeer(full) {
      contenders.append(
        Contender("roaring", prepare: { roaring.makeFull(bitCount) }) { roaring.remove(ranges) })
    }
    #endif
    return contest("reset ranges", "full", unit: "range", ranges.count, contenders)
  }

  /// All of the disk but its ends as one range, set and cleared again.
  private func fill() throws -> Contest {
    let bitmap = try makeBitmap()
    let whole = ByteRange(granularity, max(granularity, size - granularity))
    let ours = Contender(Contender.ours) {
      bitmap.set(whole)
      bitmap.reset(whole)
    }
    return contest("set, reset all", "empty", unit: "call", 1, [ours])
  }

  private func bytes(_ range: (lower: Int, upper: Int)) -> ByteRange {
    ByteRange(range.lower * granularity, min(size, range.upper * granularity))
  }
}
