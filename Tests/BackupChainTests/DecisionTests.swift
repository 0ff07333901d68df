import Testing

@testable import BackupChain

/// The table that says whether a run may make an incremental backup.
@Suite struct DecisionTests {
  private static let chain = "0123456789abcdef"
  private static let run = "00000000000000aa"

  private static func name(_ number: Int, _ run: String = run) -> TrackingName {
    TrackingName(chain: chain, number: number, run: run)
  }

  /// A chain whose last backup is number 3, and a disk with its bitmap.
  private static var sound: Decision.Facts {
    var facts = Decision.Facts()
    facts.last = Manifest.Backup(number: 3, kind: .incremental, run: run, size: 1 << 20)
    facts.segmentLength = 4
    facts.bitmaps = [TrackingBitmap(name: name(3))]
    return facts
  }

  struct Row: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Words of the reason; nil for an incremental backup.
    var reason: String?
    var isRefused = false
    var change: @Sendable (inout Decision.Facts) -> Void
  }

  static let rows: [Row] = [
    Row(testDescription: "all is as it was left") { _ in },
    Row(testDescription: "a bitmap of a run that came to nothing lies beside") {
      $0.bitmaps.append(TrackingBitmap(name: name(4, "00000000000000bb")))
    },
    Row(testDescription: "the bitmap before was not removed") {
      $0.bitmaps.insert(TrackingBitmap(name: name(2)), at: 0)
    },
    Row(testDescription: "the disk was moved, but has the bitmap") { $0.isKnownDisk = false },
    Row(testDescription: "no backup yet", reason: "no backup yet") { $0.last = nil },
    Row(testDescription: "a full one is asked for", reason: "asked for") { $0.wantsFull = true },
    Row(testDescription: "the last file is gone", reason: "No such file") {
      $0.lastIsUnusable = "No such file"
    },
    Row(testDescription: "the segment is long enough", reason: "one of 4") { $0.fullEvery = 4 },
    Row(testDescription: "the chain is too deep", reason: "stand on each other") {
      $0.maximumDepth = 4
    },
    Row(testDescription: "the bitmap was removed", reason: "was removed") { $0.bitmaps = [] },
    Row(testDescription: "the disk was rolled back", reason: "rolled back") {
      $0.bitmaps = [TrackingBitmap(name: name(1))]
    },
    Row(testDescription: "the folder was rolled back", reason: "not in the folder") {
      $0.bitmaps = [TrackingBitmap(name: name(5))]
    },
    Row(testDescription: "the last backup is of another disk", reason: "another disk") {
      $0.bitmaps = [TrackingBitmap(name: name(3, "00000000000000bb"))]
    },
    Row(testDescription: "the bitmap is inconsistent", reason: "inconsistent") {
      $0.bitmaps[0].isInconsistent = true
    },
    Row(testDescription: "the bitmap is disabled", reason: "disabled") {
      $0.bitmaps[0].isEnabled = false
    },
    Row(testDescription: "the bitmap was cleared by hand", reason: "cleared") {
      $0.bitmaps[0].hasFirstGranule = false
    },
    Row(testDescription: "another disk", reason: "never belonged", isRefused: true) {
      $0.bitmaps = []
      $0.isKnownDisk = false
    },
    Row(testDescription: "another disk is adopted", reason: "adopted") {
      $0.bitmaps = []
      $0.isKnownDisk = false
      $0.adopts = true
    },
  ]

  @Test(arguments: rows.indices)
  func onlyWhatIsProvenIsIncremental(row: Int) {
    let row = Self.rows[row]
    var facts = Self.sound
    row.change(&facts)
    switch Decision(facts) {
    case .incremental(let name):
      #expect(row.reason == nil && name == Self.name(3), "\(row.testDescription)")
    case .full(let reason):
      #expect(!row.isRefused && reason.contains(row.reason ?? "?"), "\(reason)")
    case .refused(let reason):
      #expect(row.isRefused && reason.contains(row.reason ?? "?"), "\(reason)")
    }
  }

  @Test(arguments: [
    "backup0", "lamina.0123456789abcdef.3", "lamina.0123456789abcdeF.3.00000000000000aa",
    "lamina.0123456789abcdef.03.00000000000000aa", "lamina.0123456789abcdef.-3.00000000000000aa",
    "lamina.0123456789abcdef.3.00000000000000aa.x", "lamina..3.00000000000000aa", "",
  ])
  func namesOfOthersAreNotOurs(text: String) {
    #expect(TrackingName(text) == nil)
  }

  @Test func aNameIsReadAsItWasWritten() {
    let name = Self.name(1_000_000)
    #expect(TrackingName(name.text) == name)
  }
}
