import BackupChain
import BlockLayer
import BlockTestKit
import Execution
import Foundation
import Primitives
import Synchronization
import SystemPackage
import Testing

/// Runs that end before their end: by a loss of power at any moment, by an error at any operation.
@Suite struct ChainCrashTests {
  /// The long runs look at more.
  private static let isLong = ProcessInfo.processInfo.environment["LAMINA_SIMULATE"] == "1"
  static let seeds: Range<UInt64> = 0..<(isLong ? 200 : 20)
  private static let crashesPerSeed = isLong ? 12 : 4

  /// What is interrupted.
  enum Work: CaseIterable, Sendable {
    case firstRun, incremental, full, prune

    func run(_ lab: ChainLab) async throws {
      switch self {
      case .firstRun, .incremental: _ = try await lab.backup()
      case .full: _ = try await lab.backup { $0.isFull = true }
      case .prune: _ = try await lab.chain().prune(keep: 1)
      }
    }
  }

  /// The disk and the folder as they are before the work; what each backup and the disk show.
  private static func prepare(
    _ world: World, _ work: Work
  ) async throws -> (lab: ChainLab, shown: [[UInt8]], disk: [UInt8]) {
    let lab = try await ChainLab(world)
    var random = world.makeRandom("writes")
    var shown: [[UInt8]] = []
    for round in 0..<(work == .firstRun ? 1 : 3) {
      let clusters = (0..<Int.random(in: 1...6, using: &random)).map { _ in
        Int.random(in: 0..<32, using: &random)
      }
      try await lab.write(clusters, UInt8(round + 1))
      if work == .firstRun || round == 2 && work != .prune { break }
      try await lab.backup()
      shown.append(try await lab.contents())
    }
    return (lab, shown, try await lab.contents())
  }

  private struct Moment: Sendable {
    var disks: FolderCrashPoint
    var backups: FolderCrashPoint
    var step: Int
  }

  /// Runs the work and takes down some of its moments, each as likely as any other.
  private static func moments(_ lab: ChainLab, _ work: Work) async throws -> [Moment] {
    let taken = Mutex((step: 0, moments: [Moment](), random: lab.world.makeRandom("moments")))
    let look: @Sendable () -> Void = {
      taken.withLock { taken in
        taken.step += 1
        let place =
          taken.moments.count < crashesPerSeed
          ? taken.moments.count : Int.random(in: 0..<taken.step, using: &taken.random)
        guard place < crashesPerSeed else { return }
        let moment = Moment(
          disks: lab.disks.crashPoint(), backups: lab.backups.crashPoint(), step: taken.step)
        if place == taken.moments.count {
          taken.moments.append(moment)
        } else {
          taken.moments[place] = moment
        }
      }
    }
    lab.disks.observe(look)
    lab.backups.observe(look)
    try await work.run(lab)
    lab.disks.observe(nil)
    lab.backups.observe(nil)
    return taken.withLock { $0.moments }
  }

  @Test(arguments: seeds)
  func afterALossOfPowerNoChangeIsMissing(seed: UInt64) async throws {
    let works = Self.isLong ? Work.allCases : [Work.allCases[Int(seed) % Work.allCases.count]]
    for work in works {
      let world = World.simulated(seed: seed)
      let (moments, shown, disk) = try await world.run {
        let (lab, shown, disk) = try await Self.prepare(world, work)
        return (try await Self.moments(lab, work), shown, disk)
      }
      #expect(moments.count == Self.crashesPerSeed)
      for moment in moments {
        let after = World.simulated(seed: seed &* 1000 &+ UInt64(moment.step))
        try await after.run {
          let lab = ChainLab(
            after, disks: moment.disks.folder(in: after, seed: seed),
            backups: moment.backups.folder(in: after, seed: seed))
          try await Self.check(lab, work, shown, disk, "seed \(seed), \(work), \(moment.step)")
        }
      }
    }
  }

  /// Whether the next run loses nothing.
  private static func check(
    _ lab: ChainLab, _ work: Work, _ shown: [[UInt8]], _ disk: [UInt8], _ comment: Comment
  ) async throws {
    #expect(try await lab.contents() == disk, comment)
    let backup = try await lab.backup()
    if work != .firstRun {
      #expect(backup.kind == .incremental, "\(comment): \(backup.reason ?? "")")
    }
    try await lab.expectSound(comment)
    for known in try await lab.chain().list().manifest.backups where known.number < shown.count {
      #expect(try await lab.contents(of: known.number) == shown[known.number], comment)
    }
    if work != .prune, let first = shown.first {
      #expect(try await lab.contents(of: 0) == first, comment)
    }
  }

  // MARK: - Errors

  /// Where the error strikes.
  enum Place: CaseIterable, Sendable {
    case readingTheDisk, writingTheDisk, syncingTheDisk, readingTheFolder
    case writingTheFolder, fullFolder, syncingTheFolder, namesOfTheFolder
  }

  /// Makes the `nth` operation of that kind fail; answers whether it did.
  private static func strike(
    _ place: Place, _ nth: Int, _ lab: ChainLab
  ) -> @Sendable () -> Bool {
    let file = lab.disks.files["disk.qcow2"]
    func disk(_ operations: Set<DiskOperation>) -> @Sendable () -> Bool {
      let before = file?.faultCount ?? 0
      file?.faults = FaultPlan([.init(operations, nth: nth)])
      return { (file?.faultCount ?? 0) > before }
    }
    func folder(_ operations: Set<DiskOperation>, _ errno: Errno) -> @Sendable () -> Bool {
      let plan = FaultPlan([.init(operations, nth: nth, errno: errno)])
      lab.backups.faultsOfNewFiles = plan
      for file in lab.backups.files.values { file.faults = plan }
      // A file that failed may be gone by then: the count is of all that were ever made.
      return { [backups = lab.backups] in backups.faultCount > 0 }
    }
    switch place {
    case .readingTheDisk: return disk([.read])
    case .writingTheDisk: return disk([.write, .writeZeroes, .resize])
    case .syncingTheDisk: return disk([.sync])
    case .readingTheFolder: return folder([.read], .ioError)
    case .writingTheFolder: return folder([.write, .writeZeroes, .resize], .ioError)
    case .fullFolder: return folder([.write, .writeZeroes, .resize], .noSpace)
    case .syncingTheFolder: return folder([.sync], .ioError)
    case .namesOfTheFolder:
      let count = Mutex(0)
      lab.backups.fail { operation in
        let number = count.withLock { count in
          count += 1
          return count
        }
        return number == nth ? .host(.readOnlyFileSystem, "Could not do \(operation)") : nil
      }
      return { count.withLock { $0 } >= nth }
    }
  }

  @Test(arguments: Place.allCases)
  func afterAnErrorNoChangeIsMissing(place: Place) async throws {
    var hasStruck = false
    for nth in [1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 30, 50] {
      let world = World.simulated(seed: UInt64(nth))
      let struck = try await world.run {
        let (lab, shown, disk) = try await Self.prepare(world, .incremental)
        let happened = Self.strike(place, nth, lab)
        do {
          try await lab.backup()
        } catch let error as BlockError {
          #expect(!error.message.contains("\n") && error.message.count > 20, "\(error.message)")
          #expect(happened(), "\(place), \(nth): \(error.message)")
          if place == .fullFolder {
            #expect(error.code == .noSpace, "\(error.message)")
          }
        }
        lab.disks.files["disk.qcow2"]?.faults = .none
        lab.backups.faultsOfNewFiles = .none
        for file in lab.backups.files.values { file.faults = .none }
        lab.backups.fail(nil)
        try await Self.check(lab, .incremental, shown, disk, "\(place), \(nth)")
        return happened()
      }
      hasStruck = hasStruck || struck
    }
    #expect(hasStruck, "\(place) never struck")
  }

  @Test func twoRunsAtOnceAreKeptApart() async throws {
    let world = World.simulated(seed: 7)
    try await world.run {
      let (lab, _, _) = try await Self.prepare(world, .incremental)
      try await lab.makeDisk("other.qcow2")
      let refused = await withTaskGroup(of: Bool.self) { group in
        for _ in 0..<2 { group.addTask { await Self.isRefused(lab) } }
        return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(refused == 1)
      try await lab.expectSound()
    }
  }

  private static func isRefused(_ lab: ChainLab) async -> Bool {
    do {
      try await lab.backup()
      return false
    } catch {
      #expect((error as? BlockError)?.code == .inUse, "\(error)")
      return true
    }
  }
}
