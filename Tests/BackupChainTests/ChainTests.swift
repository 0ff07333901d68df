import BackupChain
import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import SystemPackage
import Testing

/// What a chain of backups shows, whatever happens to the disk and the folder in between.
@Suite struct ChainTests {
  /// Runs `body` with a disk of which backup 0 was made.
  private func withChain(_ body: @escaping @Sendable (ChainLab) async throws -> Void) async throws {
    try await simulate(seeds: 0..<3) { world in
      let lab = try await ChainLab(world)
      try await lab.write([0, 1, 5, 20], 0x11)
      #expect(try await lab.backup().kind == .full)
      try await body(lab)
    }
  }

  @Test func eachBackupShowsTheDiskAtItsTime() async throws {
    try await withChain { lab in
      var shown = [try await lab.contents()]
      for (round, clusters) in [[], [1, 2, 31], [0], [7, 8, 9]].enumerated() {
        try await lab.write(clusters, UInt8(0x20 + round))
        let backup = try await lab.backup()
        #expect(backup.kind == .incremental)
        #expect(backup.stored == clusters.count * ChainLab.cluster)
        shown.append(try await lab.contents())
      }
      for (number, bytes) in shown.enumerated() {
        #expect(try await lab.contents(of: number) == bytes, "backup \(number)")
      }
      try await lab.expectSound()
      #expect(try await lab.bitmaps().count == 1)
    }
  }

  @Test func compressedBackupsAreSmallerAndShowTheSame() async throws {
    try await withChain { lab in
      var shown = [try await lab.contents()]
      var sizes: [Int] = []
      for (round, compresses) in [true, false, true].enumerated() {
        try await lab.write([1, 2, 8 + round, 31], UInt8(0x20 + round))
        let backup = try await lab.backup {
          $0.compresses = compresses
          $0.isFull = round == 2
        }
        shown.append(try await lab.contents())
        sizes.append(
          try lab.backups.openForReading(BackupChain.fileName(backup.number)).length)
      }
      // Four clusters each: three of them are saved by compression.
      #expect(sizes[0] <= sizes[1] - 3 * ChainLab.cluster)
      for (number, bytes) in shown.enumerated() {
        #expect(try await lab.contents(of: number) == bytes, "backup \(number)")
      }
      try await lab.expectSound()
    }
  }

  // MARK: - The disk's size

  @Test func aDiskThatGrewIsBackedUpIncrementally() async throws {
    try await withChain { lab in
      try await lab.resize(3 << 20)
      try await lab.write([40], 0x33)
      let backup = try await lab.backup()
      #expect(backup.kind == .incremental && backup.size == 3 << 20)
      #expect(backup.stored == ChainLab.cluster)
      try await lab.expectSound()
    }
  }

  /// Changes the disk behind the back of its bitmaps, as a change of size does.
  private func untracked(
    _ lab: ChainLab, _ change: @escaping @Sendable (BlockBackend) async throws -> Void
  ) async throws {
    try await lab.session { graph, node in
      let bitmaps = node.bitmaps.all
      for bitmap in bitmaps { try bitmap.disable() }
      let guest = try BlockBackend(node, in: graph)
      try await change(guest)
      await guest.close()
      for bitmap in bitmaps { try bitmap.enable() }
    }
  }

  @Test func whatBecameZeroWithoutAWriteShowsNoOldBytes() async throws {
    try await withChain { lab in
      try await untracked(lab) {
        try await $0.writeZeroes(
          ByteRange(offset: 20 * ChainLab.cluster, count: 12 * ChainLab.cluster), mayUnmap: true)
      }
      #expect(try await lab.backup().kind == .incremental)
      try await lab.expectSound()
      #expect(try await lab.contents(of: 1)[20 * ChainLab.cluster] == 0)
      #expect(try await lab.contents(of: 0)[20 * ChainLab.cluster] == 0x11)
    }
  }

  @Test func whatBecameDataWithoutAMarkIsCopied() async throws {
    try await withChain { lab in
      try await untracked(lab) {
        try await $0.fill(0x77, at: 25 * ChainLab.cluster + 512, count: 512)
      }
      let backup = try await lab.backup()
      #expect(backup.kind == .incremental && backup.stored == ChainLab.cluster)
      try await lab.expectSound()
    }
  }

  // MARK: - Bitmaps that prove nothing

  @Test func aBitmapThatWasClearedByHandGivesAFullBackup() async throws {
    try await withChain { lab in
      try await lab.write([3], 0x55)
      try await lab.session { graph, node in
        let name = try #require(node.bitmaps.all.first?.name)
        try node.bitmaps.named(name).clear()
        try await graph.storeBitmaps(of: node)
      }
      let backup = try await lab.backup()
      #expect(backup.kind == .full && backup.reason?.contains("cleared") == true)
      try await lab.expectSound()
    }
  }

  @Test func aBitmapThatWasClearedIsFoundWhateverIsWrittenAfterwards() async throws {
    try await withChain { lab in
      try await lab.resize(64 << 20)
      try await lab.backup()
      try await lab.write([3], 0x55)
      try await lab.session { graph, node in
        let name = try #require(node.bitmaps.all.first?.name)
        try node.bitmaps.named(name).clear()
        try await graph.storeBitmaps(of: node)
      }
      // A guest that rewrites its first cluster, and half of the disk.
      try await lab.write([0] + Array(500..<1000), 0x56)
      let backup = try await lab.backup()
      #expect(backup.kind == .full && backup.reason?.contains("cleared") == true)
      try await lab.expectSound()
    }
  }

  @Test func aRunThatIsCancelledWhileItReadsBackLeavesNothing() async throws {
    try await withChain { lab in
      try await lab.write([3, 4, 5], 0x55)
      let files = Set(lab.backups.files.keys)
      let bitmaps = try await lab.bitmaps()
      await #expect(throws: BlockError(.cancelled, "")) {
        try await lab.backup { $0.onProgress = { $0.total == 0 || !$0.isCompleted } }
      }
      #expect(Set(lab.backups.files.keys) == files)
      #expect(try await lab.bitmaps() == bitmaps)
      #expect(try await lab.backup().kind == .incremental)
      try await lab.expectSound()
    }
  }

  @Test func aDiskThatWasRolledBackGivesAFullBackup() async throws {
    try await withChain { lab in
      let old = try #require(lab.disks.files["disk.qcow2"]).visibleImage
      try await lab.write([3], 0x55)
      #expect(try await lab.backup().kind == .incremental)
      lab.disks.place(SimulatedDisk(old, in: lab.world), as: "disk.qcow2")
      let backup = try await lab.backup()
      #expect(backup.kind == .full && backup.reason?.contains("rolled back") == true)
      try await lab.expectSound()
    }
  }

  @Test func aDiskOfAnotherChainIsRefusedUnlessItIsAdopted() async throws {
    try await withChain { lab in
      try await lab.makeDisk("other.qcow2")
      try await lab.write([9], 0x66, disk: "other.qcow2")
      let files = Set(lab.backups.files.keys)
      await #expect(throws: BlockError(.refused, "")) { try await lab.backup("other.qcow2") }
      #expect(Set(lab.backups.files.keys) == files)
      #expect(try await lab.bitmaps("other.qcow2").isEmpty)
      let backup = try await lab.backup("other.qcow2") { $0.adopts = true }
      #expect(backup.kind == .full && backup.reason?.contains("adopted") == true)
      let shown = try await lab.contents("other.qcow2")
      #expect(try await lab.contents(of: 1) == shown)
    }
  }

  @Test func bitmapsOfOthersAreNotTouched() async throws {
    try await withChain { lab in
      try await lab.session { _, node in
        try node.addBitmap("backup0", persistent: true)
        try node.addBitmap("lamina.0123456789abcdef.0.0123456789abcdef", persistent: true)
      }
      try await lab.write([3], 0x55)
      #expect(try await lab.backup().kind == .incremental)
      let names = Set(try await lab.bitmaps())
      #expect(names.isSuperset(of: ["backup0", "lamina.0123456789abcdef.0.0123456789abcdef"]))
      #expect(names.count == 3)
      try await lab.session(readOnly: true) { _, node in
        let starts = try node.bitmaps.named("backup0").runs.map(\.lower)
        #expect(starts == [3 * ChainLab.cluster])
      }
    }
  }

  @Test func everyNthBackupIsFullIfThatIsWanted() async throws {
    try await withChain { lab in
      var kinds: [Manifest.Backup.Kind] = []
      for _ in 0..<5 { kinds.append(try await lab.backup { $0.fullEvery = 3 }.kind) }
      #expect(kinds == [.incremental, .incremental, .full, .incremental, .incremental])
    }
  }

  // MARK: - The folder

  @Test func aMissingManifestIsRebuiltFromTheFiles() async throws {
    try await withChain { lab in
      try await lab.write([3], 0x55)
      try await lab.backup()
      let before = try await lab.chain().list().manifest
      lab.backups.place(nil, as: "chain.json")
      let listing = try await lab.chain().list()
      #expect(listing.notes.count == 1 && listing.notes[0].contains("missing"))
      #expect(listing.manifest.chain == before.chain)
      #expect(listing.manifest.backups.map(\.run) == before.backups.map(\.run))
      #expect(listing.manifest.backups.map(\.kind) == [.full, .incremental])
      #expect(try await lab.backup().kind == .incremental)
      let recorded = try await lab.chain().verifyAndRecord()
      #expect(recorded.isSound && !recorded.entries[0].isProven)
      let digests = try await lab.chain().list().manifest.backups.map(\.digest)
      #expect(Array(digests[..<2]) == before.backups.map(\.digest))
    }
  }

  @Test(arguments: ["{", "{\"version\": 1}", "[]", "{\"version\": 1, \"chain\": \"no\"}", ""])
  func aDamagedManifestIsRebuiltFromTheFiles(text: String) async throws {
    try await withChain { lab in
      let file = SimulatedDisk(in: lab.world)
      let bytes = Array(text.utf8)
      try await file.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
      lab.backups.place(file, as: "chain.json")
      let listing = try await lab.chain().list()
      #expect(listing.notes.first?.contains("damaged") == true)
      #expect(listing.manifest.backups.map(\.number) == [0])
      #expect(try await lab.backup().kind == .incremental)
      try await lab.expectSound()
    }
  }

  @Test func aManifestOfANewerVersionIsLeftAlone() async throws {
    try await withChain { lab in
      let file = SimulatedDisk(in: lab.world)
      let bytes = Array("{\"version\": 2, \"chains\": []}".utf8)
      try await file.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
      lab.backups.place(file, as: "chain.json")
      await #expect(throws: BlockError(.unsupported, "")) { try await lab.backup() }
      #expect(lab.backups.files["chain.json"] === file)
    }
  }

  @Test func aMissingLinkIsNamedAndTheNextBackupIsFull() async throws {
    try await withChain { lab in
      try await lab.backup()
      try await lab.backup()
      lab.backups.place(nil, as: "000001.qcow2")
      let error = await #expect(throws: BlockError.self) {
        _ = try await lab.chain().restore(2, to: "/nowhere/out.qcow2")
      }
      #expect(error?.message.contains("of backup 1 is missing") == true)
      #expect(try await lab.chain().verify().isSound == false)
      let backup = try await lab.backup()
      #expect(backup.kind == .full && backup.reason?.contains("cannot be built on") == true)
      let shown = try await lab.contents()
      #expect(try await lab.contents(of: 3) == shown)
    }
  }

  @Test func aFlippedBitInABackupIsFound() async throws {
    try await simulate(seeds: 0..<24) { world in
      let lab = try await ChainLab(world)
      try await lab.write([0, 1, 5, 20], 0x11)
      try await lab.backup()
      let file = try #require(lab.backups.files["000000.qcow2"])
      var random = world.makeRandom("bit")
      let start = try await firstData(of: lab)
      let offset = start + Int.random(in: 0..<ChainLab.cluster, using: &random)
      var image = file.visibleImage
      var sector = image.bytes(ByteRange(offset: offset / 512 * 512, count: 512))
      sector[offset % 512] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      image.write(sector, at: offset / 512 * 512)
      lab.backups.place(SimulatedDisk(image, in: world), as: "000000.qcow2")
      let report = try await lab.chain().verify()
      #expect(!report.isSound, "seed \(world.seed), offset \(offset)")
      #expect(report.entries[0].problems.contains { $0.contains("digests differ") })
    }
  }

  private func firstData(of lab: ChainLab) async throws -> Int {
    let graph = lab.graph()
    let node = try await graph.open(
      "/backups/000000.qcow2", OpenOptions(format: "qcow2", readOnly: true))
    let status = try await node.chainStatus(ByteRange(0, ChainLab.cluster))
    try await graph.close(node)
    return try #require(status.status.offset)
  }

  @Test func aForeignFileIsNotTakenForABackup() async throws {
    try await withChain { lab in
      let foreign = try await ChainLab(lab.world)
      try await foreign.backup()
      try await foreign.backup()
      lab.backups.place(foreign.backups.files["000001.qcow2"], as: "000001.qcow2")
      await #expect(throws: BlockError(.invalidImage, "")) { try await lab.backup() }
    }
  }

  /// Writes the manifest anew with a change.
  private func changeManifest(
    _ lab: ChainLab, _ change: (String) -> String
  ) async throws {
    let old = try #require(lab.backups.files["chain.json"]).visibleImage
    let said = old.bytes(ByteRange(0, old.length)).filter { $0 != 0 }
    let bytes = Array(change(String(decoding: said, as: UTF8.self)).utf8)
    let file = SimulatedDisk(in: lab.world)
    try await file.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
    lab.backups.place(file, as: "chain.json")
  }

  @Test(arguments: [
    "9223372036854775807", "1000000001", "-1", "18446744073709551616", "1e400", "null",
  ])
  func numbersOutOfRangeInAManifestAreDamage(number: String) async throws {
    try await withChain { lab in
      for field in ["number", "size", "stored"] {
        try await changeManifest(lab) { text in
          text.split(separator: "\n").map { line in
            line.contains("\"\(field)\" :") ? "\"\(field)\" : \(number)," : String(line)
          }.joined(separator: "\n")
        }
        if field == "stored", number == "null" || number == "1000000001" { continue }
        if field == "size", number == "1000000001" { continue }
        let listing = try await lab.chain().list()
        #expect(listing.notes.first?.contains("damaged") == true, "\(field)")
      }
      #expect(try await lab.backup().kind == .incremental)
      try await lab.expectSound()
    }
  }

  @Test func aManifestThatIsWrongCostsNoBackup() async throws {
    try await withChain { lab in
      let shown = try await lab.contents()
      // A flipped bit: the only backup is called number 4.
      try await changeManifest(lab) { $0.replacing("\"number\" : 0", with: "\"number\" : 4") }
      #expect(try await lab.backup().kind == .full)
      #expect(lab.backups.files["000000.qcow2"] != nil)
      #expect(try await lab.contents(of: 0) == shown)
    }
  }

  @Test func aFileOfAnotherChainIsNeverBuiltOn() async throws {
    try await withChain { lab in
      for _ in 0..<2 { try await lab.backup() }
      let foreign = try await ChainLab(lab.world)
      for _ in 0..<2 { try await foreign.backup() }
      lab.backups.place(foreign.backups.files["000001.qcow2"], as: "000001.qcow2")
      let restoring = await #expect(throws: BlockError.self) {
        _ = try await lab.chain().restore(2, to: "/nowhere/out.qcow2")
      }
      #expect(restoring?.message.contains("another backup's") == true)
      await #expect(throws: BlockError.self) { _ = try await lab.chain().prune(keep: 2) }
      let backup = try await lab.backup()
      #expect(backup.kind == .full && backup.reason?.contains("cannot be built on") == true)
    }
  }

  // MARK: - Prune

  @Test func nothingIsRemovedWhileWhatIsKeptCannotBeRead() async throws {
    try await withChain { lab in
      try await lab.backup()
      try await lab.backup { $0.isFull = true }
      lab.backups.place(nil, as: "000002.qcow2")
      for keep in [nil, 1] {
        let error = await #expect(throws: BlockError.self) {
          _ = try await lab.chain().prune(keep: keep)
        }
        #expect(error?.message.contains("Nothing was removed") == true)
      }
      #expect(Set(lab.backups.files.keys).isSuperset(of: ["000000.qcow2", "000001.qcow2"]))
    }
  }

  @Test(arguments: 1...4) func whatIsKeptIsShownAsBefore(keep: Int) async throws {
    try await withChain { lab in
      var shown = [try await lab.contents()]
      for round in 1..<4 {
        try await lab.write([round, 2 * round], UInt8(round))
        try await lab.backup()
        shown.append(try await lab.contents())
      }
      let report = try await lab.chain().prune(keep: keep)
      #expect(report.removed == Array(0..<4 - keep))
      let kept = try await lab.chain().list().manifest.backups
      #expect(kept.map(\.number) == Array(4 - keep..<4))
      #expect(kept[0].kind == .full)
      for backup in kept {
        #expect(try await lab.contents(of: backup.number) == shown[backup.number])
      }
      try await lab.expectSound()
      #expect(try await lab.backup().kind == .incremental)
      try await lab.expectSound()
    }
  }

  @Test func withoutANumberTheNewestSegmentIsKept() async throws {
    try await withChain { lab in
      try await lab.backup()
      try await lab.backup { $0.isFull = true }
      try await lab.backup()
      let report = try await lab.chain().prune()
      #expect(report.removed == [0, 1] && report.made == nil)
      #expect(lab.backups.files.keys.sorted().contains("000002.qcow2"))
      #expect(!lab.backups.files.keys.contains("000001.qcow2"))
      try await lab.expectSound()
    }
  }
}
