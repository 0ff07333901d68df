internal import BlockLayer

/// Whether a run may make an incremental backup.
///
/// The one table of the chain: what is known of the chain and the disk, to what is done. Where
/// nothing proves that a bitmap has recorded everything since the last backup, the backup is full.
enum Decision: Equatable, Sendable {
  /// What the bitmap marks is copied.
  case incremental(from: TrackingName)
  /// Everything is copied, for this reason.
  case full(String)
  /// Nothing is done, for this reason.
  case refused(String)

  /// What the table looks at.
  struct Facts: Equatable, Sendable {
    /// The last backup; nil when there is none.
    var last: Manifest.Backup?
    /// Why the last backup cannot be built on, if it cannot.
    var lastIsUnusable: String?
    /// The files that the last backup consists of.
    var segmentLength = 0
    /// The most files that can be opened together.
    var maximumDepth = 1000
    /// The chain's bitmaps on the disk.
    var bitmaps: [TrackingBitmap] = []
    /// Whether the disk is the one of the last run by its path.
    var isKnownDisk = true
    /// Whether a full backup was asked for.
    var wantsFull = false
    /// Whether a disk that never belonged to the chain may join.
    var adopts = false
    /// The longest segment wanted; nil for any.
    var fullEvery: Int?
  }

  init(_ facts: Facts) {
    guard let last = facts.last else {
      self = .full("the folder has no backup yet")
      return
    }
    let belongs = facts.isKnownDisk || !facts.bitmaps.isEmpty
    if !belongs, !facts.adopts {
      self = .refused(
        "the disk never belonged to this chain: give --adopt to go on with it, by a full backup, "
          + "or another folder")
    } else if !belongs {
      self = .full("another disk was adopted")
    } else if facts.wantsFull {
      self = .full("a full backup was asked for")
    } else if let reason = facts.lastIsUnusable {
      self = .full("backup \(last.number) cannot be built on (\(reason))")
    } else if let every = facts.fullEvery, facts.segmentLength >= every {
      self = .full("one of \(every) backups is full")
    } else if facts.segmentLength >= facts.maximumDepth {
      self = .full(
        "\(facts.segmentLength) backups stand on each other: more could not be opened together")
    } else {
      self = Decision(last, facts.bitmaps)
    }
  }

  /// The rows on the bitmaps.
  private init(_ last: Manifest.Backup, _ bitmaps: [TrackingBitmap]) {
    let same = bitmaps.filter { $0.name.number == last.number }
    guard let bitmap = same.first(where: { $0.name.run == last.run }) else {
      self = .full(Self.reasonWithout(last, bitmaps, hasOtherRun: !same.isEmpty))
      return
    }
    let name = bitmap.name.text
    if bitmap.isInconsistent {
      self = .full(
        "the bitmap '\(name)' is inconsistent: the disk was not closed by its last writer")
    } else if !bitmap.isEnabled {
      self = .full("the bitmap '\(name)' is disabled: writes since then may be missing in it")
    } else if !bitmap.hasSentinels {
      self = .full(
        "the bitmap '\(name)' lacks marks that it was made with: it was cleared by somebody else, "
          + "or the disk shrank and grew again")
    } else {
      self = .incremental(from: bitmap.name)
    }
  }

  private static func reasonWithout(
    _ last: Manifest.Backup, _ bitmaps: [TrackingBitmap], hasOtherRun: Bool
  ) -> String {
    if hasOtherRun {
      return "the disk's bitmap of backup \(last.number) is of another run: "
        + "the backup was made of another disk"
    }
    if let older = bitmaps.last(where: { $0.name.number < last.number }) {
      return "the disk's bitmap is of backup \(older.name.number), the last one is \(last.number): "
        + "the disk was rolled back, or is a copy"
    }
    if let newer = bitmaps.first {
      return "the disk's bitmap is of backup \(newer.name.number), which is not in the folder"
    }
    return "the disk has no bitmap of backup \(last.number): it was removed, or the disk is new"
  }
}
