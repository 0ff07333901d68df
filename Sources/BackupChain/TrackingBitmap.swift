internal import BlockLayer
internal import DirtyBitmap
internal import Execution
internal import Primitives

/// The name of a chain's bitmap, `lamina.CHAIN.N.RUN`: which backup it records from.
///
/// The disk has one of that name that records, and the backup's file one that is empty and
/// disabled.
struct TrackingName: Hashable, Sendable {
  var chain: String
  var number: Int
  var run: String

  var text: String { "lamina.\(chain).\(number).\(run)" }

  init(chain: String, number: Int, run: String) {
    self.chain = chain
    self.number = number
    self.run = run
  }

  /// Nil for names of others.
  init?(_ text: String) {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "lamina", Self.isIdentity(parts[1]),
      let number = Int(parts[2]), (0...ChainLimits.maximumNumber).contains(number),
      String(number) == parts[2], Self.isIdentity(parts[3])
    else { return nil }
    self.init(chain: String(parts[1]), number: number, run: String(parts[3]))
  }

  /// 16 hexadecimal digits.
  static func isIdentity(_ text: some StringProtocol) -> Bool {
    text.utf8.count == 16
      && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  /// 64 random bits, in hexadecimal: two chains, or two runs, never have the same by chance.
  static func newIdentity(_ world: World) -> String {
    let digits = String(world.entropy(), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

/// The granules that are marked in a tracking bitmap from the start: where one is clear, somebody
/// else cleared the bitmap, and it proves nothing.
///
/// They are spread over the disk by the run's identity, so that what a guest writes after such a
/// clearing does not mark them all again; on a disk too small for that they are all of it.
struct Sentinels {
  /// So many places are drawn; some may be the same.
  static let count = 64

  /// The ranges, whole granules, in ascending order.
  let ranges: [ByteRange]

  /// Those of the bitmap that `run` made for a disk of `size` bytes.
  init(run: String, size: Int, granularity: Int) {
    let granules = size.dividedRoundingUp(by: granularity)
    var state = UInt64(run, radix: 16) ?? 0
    var places: Set<Int> = granules > 0 ? [0] : []
    for _ in 0..<Self.count where granules > 0 {
      // SplitMix64.
      state &+= 0x9e37_79b9_7f4a_7c15
      var value = state
      value = (value ^ value &>> 30) &* 0xbf58_476d_1ce4_e5b9
      value = (value ^ value &>> 27) &* 0x94d0_49bb_1331_11eb
      places.insert(Int((value ^ value &>> 31) % UInt64(granules)))
    }
    ranges = places.sorted().map { place in
      let lower = place * granularity
      return ByteRange(lower, min(size, lower + min(granularity, size - lower)))
    }
  }

  /// Whether all of them are marked, as far as the disk still reaches.
  func areMarked(in bitmap: DirtyBitmap) -> Bool {
    bitmap.withBits { bits in
      ranges.allSatisfy { range in
        let rest = range.intersection(bits.bounds)
        return rest.isEmpty || bits.nextClear(in: rest) == nil
      }
    }
  }
}

/// A chain's bitmap as it was found on a disk.
struct TrackingBitmap: Equatable, Sendable {
  var name: TrackingName
  var isInconsistent = false
  var isEnabled = true
  /// Whether what was marked when it was made still is.
  var hasSentinels = true
}

extension BlockNode {
  /// The bitmaps of a chain, in the order of their backups.
  func trackingBitmaps(of manifest: Manifest) -> [TrackingBitmap] {
    let found = bitmaps.all.compactMap { bitmap -> TrackingBitmap? in
      guard let name = bitmap.name.flatMap(TrackingName.init), name.chain == manifest.chain else {
        return nil
      }
      let size = manifest.index(of: name.number).map { manifest.backups[$0].size } ?? bitmap.size
      let sentinels = Sentinels(run: name.run, size: size, granularity: bitmap.granularity)
      return TrackingBitmap(
        name: name, isInconsistent: bitmap.isInconsistent, isEnabled: bitmap.isEnabled,
        hasSentinels: sentinels.areMarked(in: bitmap))
    }
    return found.sorted { ($0.name.number, $0.name.run) < ($1.name.number, $1.name.run) }
  }

  /// The names of a chain's bitmaps.
  func trackingNames(of chain: String) -> [TrackingName] {
    bitmaps.all.compactMap { $0.name.flatMap(TrackingName.init) }.filter { $0.chain == chain }
  }

  /// Adds the bitmap that records from a backup on, with its sentinels marked.
  func addTrackingBitmap(_ name: TrackingName, granularity: Int?) throws(BlockError) {
    let bitmap = try addBitmap(name.text, granularity: granularity, persistent: true)
    let sentinels = Sentinels(run: name.run, size: length, granularity: bitmap.granularity)
    for range in sentinels.ranges { bitmap.record(range) }
  }

  /// The tracking name that a backup's file has; nil when it has none.
  var ownTrackingName: TrackingName? {
    bitmaps.all.lazy.compactMap { $0.name.flatMap(TrackingName.init) }.first
  }
}
