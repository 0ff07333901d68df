public import Primitives

/// The oracle of a guest's disk: what a read may find, now and after a crash.
///
/// It knows for every sector of 512 bytes what was flushed and what was written since. Tell it of
/// each change before the disk is asked and after it has answered: `begin(_:)` and `end(_:)`. A
/// copy of the model, taken when a crash point is, tells later what that crash may leave.
///
/// It promises for the disk what a disk promises its guest: a read finds what was last written; a
/// change that failed leaves old or new; a flush that succeeded makes durable what had completed
/// before it was asked for; after a crash each sector holds what was flushed or something newer. A
/// discard leaves old bytes or zeros.
///
/// Changes that are under way at once must not share a sector.
public struct ModelDisk: Sendable {
  /// A change or a flush that is under way.
  public struct Ticket: Sendable {
    fileprivate let range: ByteRange
    fileprivate let mark: Int
  }

  /// The size in bytes.
  public let length: Int
  /// What was flushed.
  private var flushed: SparseImage
  /// The sectors of which more is to be said.
  private var histories: [Int: SectorHistory] = [:]
  private var changes = 0
  private var completions = 0

  /// A disk whose contents are `image`, durable.
  public init(_ image: SparseImage) {
    length = image.length
    flushed = image
  }

  /// A disk of `length` zeros.
  public init(length: Int) { self.init(SparseImage(length: length)) }

  // MARK: - Changes

  /// The guest asks for a change; `bytes` are those of a write, nil for zeros or a discard.
  ///
  /// `number` is how differences name it; a count of the changes unless given.
  private mutating func begin(
    _ verb: String, _ range: ByteRange, number: Int? = nil, bytes: [UInt8]? = nil,
    keepsOld: Bool = false
  ) -> Ticket {
    precondition(range.upper <= length, "a guest cannot write beyond its disk's end")
    changes += 1
    let origin = "\(verb) \(number.map(String.init) ?? "of change \(changes)")"
    for sector in Sector.numbers(in: range) {
      let part = range.intersection(Sector.range(sector))
      let inSector = part.relative(to: sector * Sector.size)
      let inBytes = part.relative(to: range.lower)
      let new = bytes.map { Array($0[inBytes.lower..<inBytes.upper]) }
      histories[sector, default: SectorHistory(flushed: flushed.sector(sector))].begin(origin) {
        let changed = $0.replacing(inSector, with: new)
        return keepsOld ? [$0, changed] : [changed]
      }
    }
    return Ticket(range: range, mark: completions)
  }

  /// The guest writes `bytes`.
  public mutating func beginWrite(
    _ range: ByteRange, _ bytes: [UInt8], number: Int? = nil
  ) -> Ticket {
    precondition(bytes.count == range.count, "a buffer has its request's length")
    return begin("write", range, number: number, bytes: bytes)
  }

  /// The guest writes zeros.
  public mutating func beginWriteZeroes(_ range: ByteRange) -> Ticket {
    begin("zeroes", range)
  }

  /// The guest discards: old bytes or zeros will be there.
  public mutating func beginDiscard(_ range: ByteRange) -> Ticket {
    begin("discard", range, keepsOld: true)
  }

  /// The change has ended.
  public mutating func end(_ ticket: Ticket, succeeded: Bool = true) {
    completions += 1
    for sector in Sector.numbers(in: ticket.range) {
      histories[sector]?.end(completions, succeeded: succeeded)
    }
  }

  /// The guest asks for a flush.
  public func beginFlush() -> Ticket { Ticket(range: ByteRange(0, 0), mark: completions) }

  /// The flush has ended; one that failed promises nothing.
  public mutating func endFlush(_ ticket: Ticket, succeeded: Bool = true) {
    guard succeeded else { return }
    for sector in histories.keys.sorted() {
      guard var history = histories[sector] else { continue }
      history.flush(mark: ticket.mark)
      flushed.setSector(sector, history.flushed)
      histories[sector] = history.certain == nil ? history : nil
    }
  }

  // MARK: - Verification

  /// The first place where `bytes`, read from `range` now, are none of those that may be there; nil
  /// when there is none.
  ///
  /// O(range + sectors changed since the last flush).
  public func verify(_ bytes: [UInt8], at range: ByteRange) -> Difference? {
    verify(bytes, range, isAfterCrash: false)
  }

  /// The first place where `bytes`, read from `range` after a crash at this moment, are none of
  /// those that may be there; nil when there is none.
  ///
  /// O(range + sectors changed since the last flush).
  public func verifyAfterCrash(_ bytes: [UInt8], at range: ByteRange) -> Difference? {
    verify(bytes, range, isAfterCrash: true)
  }

  private func verify(
    _ bytes: [UInt8], _ range: ByteRange, isAfterCrash: Bool
  ) -> Difference? {
    precondition(bytes.count == range.count, "a buffer has its request's length")
    var expected = flushed.bytes(range)
    let window = Sector.numbers(in: range)
    for sector in histories.keys.filter(window.contains).sorted() {
      guard let history = histories[sector] else { continue }
      let part = range.intersection(Sector.range(sector))
      let found = part.relative(to: range.lower)
      let inSector = part.relative(to: sector * Sector.size)
      let allowed = (isAfterCrash ? history.afterCrash : history.live).map { $0.slice(inSector) }
      let slice = Array(bytes[found.lower..<found.upper])
      // Where none fits, any allowed one makes the difference that is found below.
      let best = allowed.first { $0 == slice } ?? allowed.first ?? slice
      expected.replaceSubrange(found.lower..<found.upper, with: best)
    }
    guard let offset = expected.span.bytes.firstDifference(from: bytes.span.bytes) else {
      return nil
    }
    return Difference(
      offset: range.lower + offset, found: bytes, range: range,
      history: histories[(range.lower + offset) / Sector.size], isAfterCrash: isAfterCrash,
      expected: expected)
  }
}
