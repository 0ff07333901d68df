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
      let number = Int(parts[2]), number >= 0, String(number) == parts[2],
      Self.isIdentity(parts[3])
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

/// A chain's bitmap as it was found on a disk.
struct TrackingBitmap: Equatable, Sendable {
  var name: TrackingName
  var isInconsistent = false
  var isEnabled = true
  /// Whether its first granule is marked, as it was made.
  var hasFirstGranule = true
}

extension BlockNode {
  /// The bitmaps of `chain`, in the order of their backups.
  func trackingBitmaps(of chain: String) -> [TrackingBitmap] {
    let found = bitmaps.all.compactMap { bitmap -> TrackingBitmap? in
      guard let name = bitmap.name.flatMap(TrackingName.init), name.chain == chain else {
        return nil
      }
      return TrackingBitmap(
        name: name, isInconsistent: bitmap.isInconsistent, isEnabled: bitmap.isEnabled,
        hasFirstGranule: bitmap.size == 0
          || bitmap.withBits { $0.nextDirty(in: ByteRange(0, 1)) != nil })
    }
    return found.sorted { ($0.name.number, $0.name.run) < ($1.name.number, $1.name.run) }
  }

  /// Adds the bitmap that records from a backup on, with its first granule marked.
  func addTrackingBitmap(_ name: TrackingName, granularity: Int?) throws(BlockError) {
    let bitmap = try addBitmap(name.text, granularity: granularity, persistent: true)
    if length > 0 { bitmap.record(ByteRange(0, 1)) }
  }

  /// The tracking name that a backup's file has; nil when it has none.
  var ownTrackingName: TrackingName? {
    bitmaps.all.lazy.compactMap { $0.name.flatMap(TrackingName.init) }.first
  }
}
