internal import ImageOps
public import Lamina
internal import Synchronization

/// A bitmap, and the increments that were made from it, each in an image that is backed by the one
/// before.
public final class BackupSeries: Sendable {
  /// One increment.
  public struct Backup: Sendable {
    /// The image.
    public let target: String
    /// A full backup of the same moment, if one was made.
    public var reference: String?
    /// The moments of the disk that it may be of, which look the same.
    public let moments: [Int]
  }

  private struct State {
    var backups: [Backup] = []
    var nextNumber = 0
    /// The moment from which on the bitmap has what was written.
    var since: Int
  }

  /// The disk.
  public let disk: LabDisk
  /// The bitmap.
  public let bitmap: DirtyBitmap
  private let name: String
  private let state: Mutex<State>

  init(_ bitmap: DirtyBitmap, _ name: String, of disk: LabDisk, since: Int) {
    self.bitmap = bitmap
    self.name = name
    self.disk = disk
    state = Mutex(State(since: since))
  }

  /// The increments, the oldest first.
  public var backups: [Backup] { state.withLock { $0.backups } }

  /// The image that the next increment stands on: the last increment, or the disk's full backup.
  public var lastTarget: String? { backups.last?.target ?? disk.anchor }

  /// The moment from which on the bitmap has what was written.
  var since: Int { state.withLock { $0.since } }

  /// Says that the bitmap was made to start anew by something else than this series: it has what
  /// was written since the moment of `run`, a backup of the disk in the same transaction.
  ///
  /// Checked at once.
  public func restart(with run: BackupRun) async throws {
    for moment in run.moments.dropLast() {
      state.withLock { $0.since = moment }
      if (try? await checkBitmap()) != nil { return }
    }
    guard let last = run.moments.last else { return }
    state.withLock { $0.since = last }
    try await checkBitmap()
  }

  // MARK: - Backups

  /// Makes an increment, and a full backup as its reference unless a guest is at work.
  ///
  /// An increment that failed leaves no image, and the bitmap as it must be for the next one; both
  /// are checked.
  public func backup() async throws -> BackupRun {
    let run = try await prepareBackup().run()
    if run.result == .success { try await makeReference() }
    return run
  }

  /// Makes the image of the next increment, and what a job or a transaction needs to fill it.
  ///
  /// One that is not `backed` gets its backing file later, by `BackupLab.rebase(_:onto:)`.
  public func prepareBackup(
    clusterSize: Int = 65536, backed: Bool = true
  ) async throws -> PreparedBackup {
    let number = state.withLock { $0.nextNumber }
    let plan = PreparedBackup.Plan(
      target: "\(disk.name).\(name).inc\(number).qcow2", sync: .incremental,
      clusterSize: clusterSize, backing: backed ? lastTarget : nil, bitmap: name,
      isWhole: backed)
    return try await PreparedBackup(plan, of: disk, for: self)
  }

  /// Makes a full backup, the reference of the last increment, if the disk has not changed since.
  @discardableResult
  public func makeReference() async throws -> BackupRun? {
    guard let last = backups.last, !disk.isAtWork else { return nil }
    let name = "\(disk.name).\(name).ref\(backups.count - 1).qcow2"
    let prepared = try await PreparedBackup(.init(target: name), of: disk)
    let run = try await prepared.run()
    guard run.moments.contains(where: last.moments.contains) else {
      try disk.lab.images.remove(name)
      return run
    }
    state.withLock { $0.backups[$0.backups.count - 1].reference = name }
    return run
  }

  func add(_ target: String, moments: [Int]) {
    state.withLock { state in
      state.backups.append(Backup(target: target, reference: nil, moments: moments))
      state.nextNumber += 1
      state.since = moments[0]
    }
  }

  // MARK: - Checks

  /// Checks that the bitmap is what the guest has written since the last backup that succeeded, no
  /// less and no more.
  public func checkBitmap() async throws {
    try await disk.whileQuiet {
      let dirt = disk.history.dirt(
        after: since, upTo: disk.history.moment, granularity: bitmap.granularity)
      if let difference = dirt.difference(from: bitmap.runs, granularity: bitmap.granularity) {
        throw LabError("\(disk.name): the bitmap '\(name)' is wrong: \(difference)")
      }
    }
  }

  /// Checks every increment: its chain is its reference, and the last one's the disk.
  public func checkBackups() async throws {
    for backup in backups { try await check(backup) }
    guard let last = lastTarget else { return }
    try await disk.whileQuiet {
      let result = try await disk.lab.compare(last, with: disk.node)
      guard result == .identical else {
        throw LabError("the chain of \(last) is not the disk \(disk.name): \(result)")
      }
    }
  }

  private func check(_ backup: Backup) async throws {
    let lab = disk.lab
    var results: [ComparisonResult] = []
    if let reference = backup.reference {
      let node = try await lab.open(reference)
      results = [try await lab.compare(backup.target, with: node)]
      try await lab.close(node)
    } else {
      for moment in backup.moments {
        results.append(try await lab.compare(backup.target, with: disk.history.image(at: moment)))
      }
    }
    guard results.contains(.identical) else {
      throw LabError(
        "the chain of \(backup.target) is not \(backup.reference ?? "the disk as it was"): "
          + "\(results)")
    }
  }
}
