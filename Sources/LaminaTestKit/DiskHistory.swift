internal import BlockTestKit
internal import Lamina
internal import Synchronization

/// What a disk was after each of its guest's requests, and what each of them dirtied.
///
/// A *moment* is a number of requests that have ended: 0 is the disk before the first. A guest has
/// one request under way at a time, so that a backup begins at a moment and never within one.
public final class DiskHistory: Sendable {
  private struct Entry {
    var image: SparseImage
    var dirtied: ByteRange?
    /// When the request began and ended.
    var began: Int
    var ended: Int
    /// Whether the request failed: its range may be dirty or not.
    var isFailed = false
  }

  private struct State {
    var entries: [Entry]
    var begun = 0
    var lastBegan = 0
  }

  private let state: Mutex<State>
  private let clock: RequestClock

  /// A disk that holds `image` at moment 0.
  init(_ image: SparseImage, _ clock: RequestClock) {
    self.clock = clock
    state = Mutex(State(entries: [Entry(image: image, dirtied: nil, began: 0, ended: 0)]))
  }

  /// The moment that is now: how many requests have ended.
  public var moment: Int { state.withLock { $0.entries.count - 1 } }

  /// The latest moment that has begun: one more than `moment` while a request is under way.
  public var latestMoment: Int { state.withLock { $0.begun } }

  /// The disk as it was at `moment`.
  public func image(at moment: Int) -> SparseImage { state.withLock { $0.entries[moment].image } }

  /// The disk as it is now.
  public var image: SparseImage { image(at: moment) }

  func begin() {
    state.withLock { state in
      state.begun += 1
      state.lastBegan = clock.next()
    }
  }

  func end(_ image: SparseImage, dirtied: ByteRange?, isFailed: Bool = false) {
    state.withLock { state in
      state.entries.append(
        Entry(
          image: image, dirtied: dirtied, began: state.lastBegan, ended: clock.next(),
          isFailed: isFailed))
    }
  }

  /// The time within which `moment` lies: after the begin of its last request, and before the end
  /// of the next one.
  func time(of moment: Int) -> Range<Int> {
    state.withLock { state in
      let next = moment + 1 < state.entries.count ? state.entries[moment + 1].ended : .max
      return state.entries[moment].began..<next
    }
  }

  /// The granules that were dirtied after `first` and up to `last`.
  func dirt(after first: Int, upTo last: Int, granularity: Int) -> Dirt {
    let entries = state.withLock { Array($0.entries[(first + 1)..<(last + 1)]) }
    var dirt = Dirt()
    for entry in entries {
      guard let range = entry.dirtied, !range.isEmpty else { continue }
      let granules = Dirt.granules(range, granularity)
      dirt.possible.formUnion(granules)
      if !entry.isFailed { dirt.certain.formUnion(granules) }
    }
    return dirt
  }
}

/// The granules of a bitmap that must be dirty, and those that may be: failed requests dirty theirs
/// or not.
struct Dirt {
  var certain: Set<Int> = []
  var possible: Set<Int> = []

  static func granules(_ range: ByteRange, _ granularity: Int) -> Range<Int> {
    range.lower / granularity..<range.upper.dividedRoundingUp(by: granularity)
  }

  func allows(_ runs: [ByteRange], granularity: Int) -> Bool {
    difference(from: runs, granularity: granularity) == nil
  }

  /// The first granule that is not as it must be, in words; nil when all are.
  func difference(from runs: [ByteRange], granularity: Int) -> String? {
    let found = Set(runs.flatMap { Dirt.granules($0, granularity) })
    let wrong = certain.subtracting(found).union(found.subtracting(possible))
    guard let first = wrong.min() else { return nil }
    let range = ByteRange(offset: first * granularity, count: granularity)
    return found.contains(first)
      ? "\(range) is dirty, and no request has dirtied it"
      : "\(range) is clean, and a request has dirtied it"
  }

  /// The bytes that a backup of a disk of `length` copies for it, in whole copy clusters.
  func work(granularity: Int, cluster: Int, length: Int) -> ClosedRange<Int> {
    let disk = ByteRange(0, length)
    let bytes = { (granules: Set<Int>) in
      let clusters = granules.flatMap { granule in
        let range = ByteRange(offset: granule * granularity, count: granularity)
        return Dirt.granules(range.intersection(disk), cluster)
      }
      return Set(clusters).count * cluster
    }
    return bytes(certain)...bytes(possible)
  }
}

/// Numbers the begins and ends of the requests of all guests of a lab.
final class RequestClock: Sendable {
  private let last = Atomic<Int>(0)

  func next() -> Int { last.add(1, ordering: .relaxed).newValue }
}
