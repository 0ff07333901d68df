internal import Primitives

/// What one guest sector may hold: its contents since the last flush, each a set of alternatives.
struct SectorHistory: Sendable {
  struct Version: Sendable {
    /// What the sector may hold by this version; more than one where the guest was not told.
    var alternatives: [SectorContent]
    /// What made it, in words.
    let origin: String
    /// When it completed; nil while it is under way.
    var completion: Int?
  }

  /// Oldest first; the first is what was flushed, or was there from the beginning.
  private(set) var versions: [Version]

  init(flushed: SectorContent) {
    versions = [
      Version(alternatives: [flushed], origin: "what was flushed", completion: 0)
    ]
  }

  /// Whether a change is under way.
  var isBusy: Bool { versions.contains { $0.completion == nil } }

  /// What a read may find now.
  var live: [SectorContent] {
    guard let last = versions.last else { return [] }
    if last.completion != nil { return last.alternatives }
    return SectorHistory.union(before, last.alternatives)
  }

  /// What a read after a crash may find.
  var afterCrash: [SectorContent] {
    versions.reduce([]) { SectorHistory.union($0, $1.alternatives) }
  }

  /// The content, if nobody can be in doubt about it, not even after a crash.
  var certain: SectorContent? {
    guard let only = versions.first, versions.count == 1 else { return nil }
    return only.alternatives.count == 1 ? only.alternatives.first : nil
  }

  /// One of the contents that were flushed.
  var flushed: SectorContent { versions.first?.alternatives.first ?? .zeros }

  private var before: [SectorContent] {
    versions.dropLast().last?.alternatives ?? []
  }

  /// A change begins that would turn each content into those that `change` gives.
  mutating func begin(_ origin: String, _ change: (SectorContent) -> [SectorContent]) {
    precondition(!isBusy, "two changes of one sector are under way at once")
    let alternatives = live.reduce([]) { SectorHistory.union($0, change($1)) }
    versions.append(Version(alternatives: alternatives, origin: origin, completion: nil))
  }

  /// The change that is under way has ended; after a failure the sector may hold what it did.
  mutating func end(_ completion: Int, succeeded: Bool) {
    guard let last = versions.indices.last, versions[last].completion == nil else { return }
    if !succeeded {
      versions[last].alternatives = SectorHistory.union(before, versions[last].alternatives)
    }
    versions[last].completion = completion
  }

  /// A flush has made durable what had completed at `mark`.
  mutating func flush(mark: Int) {
    let flushed = versions.lastIndex { version in version.completion.map { $0 <= mark } ?? false }
    if let flushed { versions.removeFirst(flushed) }
  }

  private static func union(_ left: [SectorContent], _ right: [SectorContent]) -> [SectorContent] {
    left + right.filter { !left.contains($0) }
  }
}

extension SectorContent {
  /// The content with the bytes of `part`, counted from the sector's start, replaced.
  func replacing(_ part: ByteRange, with bytes: [UInt8]?) -> SectorContent {
    var all = isZero ? [UInt8](repeating: 0, count: Sector.size) : self.bytes
    var span = all.mutableSpan
    var raw = span.mutableBytes
    if let bytes {
      raw.copy(from: bytes.span.bytes, at: part.lower)
    } else {
      raw.fill(part, with: 0)
    }
    return SectorContent(all.span.bytes)
  }

  /// The bytes of `part`, counted from the sector's start.
  func slice(_ part: ByteRange) -> [UInt8] {
    isZero ? [UInt8](repeating: 0, count: part.count) : Array(bytes[part.lower..<part.upper])
  }
}
