internal import ImageOps
public import Lamina
internal import Synchronization

/// A backup of a lab's disk that is ready to run, with its target.
///
/// `run()` does the rest; what runs its job in another way (a transaction) gives `action` to it,
/// calls `didBegin()`, and then `finish(_:)`.
public final class PreparedBackup: Sendable {
  /// What the job is to do, as an action of a transaction.
  public let action: Transaction.Action
  /// The name of the target's image.
  public let target: String
  private let disk: LabDisk
  private let series: BackupSeries?
  /// The target's node; nil when the job opens the image itself.
  private let node: BlockNode?
  private let clusterSize: Int
  /// Whether the image's chain is the whole disk.
  private let isWhole: Bool
  /// Whether series of increments stand on it.
  private let isAnchor: Bool
  /// The disk's moment before.
  private let first: Int
  private let last = Mutex<Int?>(nil)
  private let eventCount: Int

  /// What a backup is made of.
  struct Plan {
    var target: String
    var sync = BackupSpec.Sync.full
    var clusterSize = 65536
    var backing: String?
    var bitmap: String?
    var isWhole = true
    var isAnchor = false
  }

  init(_ plan: Plan, of disk: LabDisk, for series: BackupSeries? = nil) async throws {
    let lab = disk.lab
    let length = disk.node.length
    target = plan.target
    clusterSize = plan.clusterSize
    isWhole = plan.isWhole
    isAnchor = plan.isAnchor
    self.disk = disk
    self.series = series
    if lab.command == .blockdevBackup {
      let node = try await lab.makeTarget(plan, length: length)
      self.node = node
      action = .backup(
        BackupSpec(
          source: .named(disk.name), target: .node(node), sync: plan.sync, bitmap: plan.bitmap))
    } else {
      node = nil
      // What drive-backup makes is like this.
      let isPlain = plan.backing == nil && plan.clusterSize == 65536 && plan.sync == .full
      if !isPlain { try await lab.create(plan, length: length) }
      action = .driveBackup(
        DriveBackupSpec(
          source: .named(disk.name), target: lab.images.path(target), sync: plan.sync,
          format: "qcow2", mode: isPlain ? .absolutePaths : .existing, bitmap: plan.bitmap))
    }
    first = disk.history.moment
    eventCount = lab.jobs.events.events.count
  }

  /// Runs the job, and checks what it leaves.
  ///
  /// Throws what a job that could not be made throws; its target is gone then.
  public func run() async throws -> BackupRun {
    let job: Job
    do {
      job =
        switch action {
        case .backup(let spec): try await disk.lab.jobs.backup(spec)
        case .driveBackup(let spec): try await disk.lab.jobs.driveBackup(spec)
        default: throw LabError("a prepared backup is no other action")
        }
    } catch {
      try await abandon()
      throw error
    }
    didBegin()
    return try await finish(job)
  }

  /// Says that the job was made: the disk's moment lies between the preparation and now.
  public func didBegin() {
    let moment = disk.history.latestMoment
    last.withLock { $0 = $0 ?? moment }
  }

  /// Closes and removes the target: there was no job.
  public func abandon() async throws {
    try await closeTarget()
    try disk.lab.images.remove(target)
  }

  /// Waits for the job's end, closes the target, and checks what the job has left: on success the
  /// target's chain is the disk as it was when the job began, and the bitmap has what was written
  /// since; otherwise the bitmap has lost nothing, and the target is removed.
  public func finish(_ job: Job) async throws -> BackupRun {
    let result = await job.wait()
    try await closeTarget()
    let events = disk.lab.jobs.events.events.dropFirst(eventCount)
    let isSuccess = result == .success
    // The guest rests meanwhile: what it does while it is looked at tells nothing.
    let moments = isSuccess ? try await disk.whileQuiet { try await findMoments() } : []
    let run = BackupRun(
      job: job, result: result, events: events.filter { $0.device == job.id }, target: target,
      moments: moments, work: work(moments).map { .within($0) } ?? .any)
    if !isSuccess {
      try disk.lab.images.remove(target)
      try await series?.checkBitmap()
      return run
    }
    if let series {
      series.add(target, moments: moments)
      try await series.checkBitmap()
    }
    if isAnchor { disk.setAnchor(target) }
    return run
  }

  private func closeTarget() async throws {
    if let node { try await disk.lab.close(node) }
  }

  // MARK: - The moment

  /// The moments at which the job may have begun, as far as bitmap and target tell.
  ///
  /// No request of the guest may be under way.
  private func findMoments() async throws -> [Int] {
    let now = disk.history.moment
    let last = min(last.withLock { $0 } ?? now, now)
    var moments = Array(first...last)
    if let series {
      let granularity = series.bitmap.granularity
      let runs = series.bitmap.runs
      moments.removeAll { moment in
        let dirt = disk.history.dirt(after: moment, upTo: now, granularity: granularity)
        return !dirt.allows(runs, granularity: granularity)
      }
      if moments.isEmpty {
        throw LabError(
          "\(disk.name): what the bitmap has after the backup to \(target) is not what the guest "
            + "wrote since any moment at which the backup can have begun")
      }
    }
    return isWhole ? try await momentsOfTarget(among: moments) : moments
  }

  private func momentsOfTarget(among moments: [Int]) async throws -> [Int] {
    var found: [Int] = []
    var results: [ComparisonResult] = []
    for moment in moments {
      let result = try await disk.lab.compare(target, with: disk.history.image(at: moment))
      if result == .identical { found.append(moment) } else { results.append(result) }
    }
    if found.isEmpty {
      throw LabError(
        "the chain of \(target) is not the disk \(disk.name) as it was when the backup began: "
          + "\(results)")
    }
    return found
  }

  /// The bytes that a job has to copy that began at one of `moments`.
  private func work(_ moments: [Int]) -> ClosedRange<Int>? {
    let cluster = max(65536, clusterSize)
    let length = disk.node.length
    guard let series else {
      let all = length.dividedRoundingUp(by: cluster) * cluster
      return all...all
    }
    let granularity = series.bitmap.granularity
    let works = moments.map { moment in
      disk.history.dirt(after: series.since, upTo: moment, granularity: granularity)
        .work(granularity: granularity, cluster: cluster, length: length)
    }
    guard let least = works.map(\.lowerBound).min(), let most = works.map(\.upperBound).max() else {
      return nil
    }
    return least...most
  }
}
