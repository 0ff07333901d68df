public import BlockLayer
public import Primitives
internal import Synchronization

/// What could not be read of a source, and so is zeros in its copy.
public struct UnreadableBytes: Sendable {
  /// How many ranges are listed at most.
  public static let maximumRangeCount = 1000

  /// The ranges, as far as there is room for them, lowest first.
  public internal(set) var ranges: [ByteRange] = []
  /// The number of bytes, listed or not.
  public internal(set) var byteCount = 0
  /// The first error.
  public internal(set) var firstError: BlockError?

  mutating func add(_ range: ByteRange, _ error: BlockError) {
    if firstError == nil { firstError = error }
    byteCount += range.count
    if let last = ranges.last, last.upper == range.lower {
      ranges[ranges.count - 1] = ByteRange(last.lower, range.upper)
    } else if ranges.count < Self.maximumRangeCount {
      ranges.append(range)
    }
  }
}

/// Reads as much as can be read, sector by sector where need be.
final class SalvageLog: Sendable {
  private let state = Mutex(UnreadableBytes())

  /// What could not be read.
  var unreadable: UnreadableBytes {
    var result = state.withLock { $0 }
    result.ranges.sort { $0.lower < $1.lower }
    return result
  }

  /// Reads `range`, which could not be read as a whole; sectors that cannot be read become zeros.
  func read(
    _ range: ByteRange, of source: DiskView, into buffer: inout MutableRawSpan
  ) async {
    // Halves first: a bad sector in a long range is found in few steps.
    var pending = [range]
    while let next = pending.popLast() {
      let place = next.relative(to: range.lower)
      do throws(BlockError) {
        var part = buffer.slice(place)
        try await source.read(next, into: &part)
      } catch {
        guard next.count > 512 else {
          buffer.fill(place, with: 0)
          state.withLock { $0.add(next, error) }
          continue
        }
        let middle = max(next.lower + 512, (next.lower + next.count / 2).roundedDown(to: 512))
        let cut = min(middle, next.upper)
        if cut < next.upper { pending.append(ByteRange(cut, next.upper)) }
        pending.append(ByteRange(next.lower, cut))
      }
    }
  }
}
