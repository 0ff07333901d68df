public import Lamina
internal import Synchronization

/// Disks, their guests, bitmaps and backups, for tests of backup software: everything that a
/// scenario needs, checked as it goes.
///
/// Use it inside `world.run { … }`. In a simulated World on `ImageStore.Place.memory` a seed
/// repeats the same run.
public final class BackupLab: Sendable {
  /// How backups get at their targets.
  public enum Command: Sendable {
    /// The lab makes and opens the image, and the job gets a node: QMP's `blockdev-backup`.
    case blockdevBackup
    /// The job gets a file's name, and makes the image of a full backup itself: QMP's
    /// `drive-backup`.
    case driveBackup
  }

  /// The World in which everything happens.
  public let world: World
  /// The disks' graph.
  public let graph: BlockGraph
  /// The jobs, with their events.
  public let jobs: JobRegistry
  /// The images.
  public let images: ImageStore
  private let disks = Mutex<[LabDisk]>([])
  private let allSeries = Mutex<[BackupSeries]>([])

  private let command: Command
  private let clock = RequestClock()

  var context: LabContext {
    LabContext(
      world: world, graph: graph, jobs: jobs, images: images, clock: clock, command: command)
  }

  /// An empty lab.
  public init(
    _ place: ImageStore.Place = .memory, in world: World, command: Command = .blockdevBackup
  ) throws(BlockError) {
    self.world = world
    self.command = command
    images = try ImageStore(place, in: world)
    graph = BlockGraph(world: world, registry: images.registry)
    jobs = JobRegistry(graph: graph)
  }

  /// Runs `body` on a lab in `world`, and closes the lab, whether or not `body` throws.
  public static func run(
    _ place: ImageStore.Place = .memory, in world: World, command: Command = .blockdevBackup,
    _ body: @escaping @Sendable (BackupLab) async throws -> Void
  ) async throws {
    try await world.run { () async throws -> Void in
      let lab = try BackupLab(place, in: world, command: command)
      do {
        try await body(lab)
      } catch {
        try? await lab.close()
        throw error
      }
      try await lab.close()
    }
  }

  /// Ends all jobs, closes the disks, and removes the images.
  public func close() async throws {
    await jobs.cancelAll()
    defer { images.removeAll() }
    for disk in disks.withLock({ $0 }) {
      await disk.guest.close()
      try await context.close(disk.node)
    }
  }

  // MARK: - Disks

  /// Makes a disk in a new image that holds `fills`, and a guest's door to it of that name.
  ///
  /// With `faults` the image lies on a blkdebug node that follows these rules, from the guest's
  /// first request on.
  public func addDisk(
    _ name: String, holding fills: [Fill] = [], length: Int = 64 << 20, clusterSize: Int = 65536,
    faults: BlkdebugRules? = nil
  ) async throws -> LabDisk {
    let image = name + ".qcow2"
    try await images.create(image, length: length, clusterSize: clusterSize)
    let contents = try await fill(image, with: fills)
    let options = OpenOptions(format: "qcow2", discard: .unmap)
    let node = try await graph.changes.withLock { () async throws(BlockError) -> BlockNode in
      guard let faults else { return try await graph.open(images.path(image), options) }
      let file = try await graph.open(
        images.path(image), OpenOptions(format: "file", discard: .unmap))
      let debug = try graph.addNode(
        BlkdebugDriver(image: file, rules: faults), options: NodeOptions(discard: .unmap))
      return try await graph.open(file: debug, options)
    }
    let disk = try LabDisk(name, node, holding: contents, in: context)
    disks.withLock { $0.append(disk) }
    return disk
  }

  /// Writes `fills` to an image that nobody has open; what it shows then.
  private func fill(_ image: String, with fills: [Fill]) async throws -> SparseImage {
    let node = try await context.open(image, readOnly: false)
    let backend = try BlockBackend(node, in: graph)
    var contents = SparseImage(length: node.length)
    for fill in fills {
      try await backend.fill(fill.byte, at: fill.offset, count: fill.count)
      contents.write([UInt8](repeating: fill.byte, count: fill.count), at: fill.offset)
    }
    await backend.close()
    try await context.close(node)
    return contents
  }

  /// Adds a bitmap to `disk`, and begins the series of backups that is made from it.
  ///
  /// The series stands on the disk's last full backup, after which nothing may have been written.
  public func addBitmap(
    _ name: String, to disk: LabDisk, granularity: Int? = nil, persistent: Bool = false
  ) async throws -> BackupSeries {
    let series = try await disk.whileQuiet {
      let bitmap = try disk.node.addBitmap(
        name, granularity: granularity, persistent: persistent)
      return BackupSeries(bitmap, name, of: disk, since: disk.history.moment)
    }
    allSeries.withLock { $0.append(series) }
    return series
  }

  /// Records another backing file in an image, without a look at its data: `qemu-img rebase -u`.
  public func rebase(_ image: String, onto backing: String) async throws {
    let options = OpenOptions(format: "qcow2", backing: .ignore)
    let own = BlockGraph(world: world, registry: images.registry)
    let node = try await own.open(images.path(image), options)
    try await Rebase.unsafely(node, onto: RecordedBacking(name: backing, format: "qcow2"))
    try await own.close(node)
  }

  // MARK: - Checks

  /// How many bytes of the disk an image has itself, instead of its backing file.
  public func allocatedBytes(of image: String) async throws -> Int {
    let node = try await context.open(image)
    let entries = try await node.map()
    try await context.close(node)
    return entries.filter { $0.isPresent && $0.depth == 0 }.reduce(0) { $0 + $1.length }
  }

  /// Checks every backup of every series: its chain is its reference, and the last one's the disk.
  ///
  /// Guests must be at rest, and nothing written since the last backups.
  public func checkBackups() async throws {
    for series in allSeries.withLock({ $0 }) { try await series.checkBackups() }
  }

  /// Checks that backups of several disks are of one moment: no guest's request that one of them
  /// has ended before a request began that another one lacks, and the other way round.
  public func checkSameMoment(_ runs: [(disk: LabDisk, run: BackupRun)]) throws {
    let times = runs.map { disk, run in run.moments.map { disk.history.time(of: $0) } }
    var common = [0..<Int.max]
    for candidates in times {
      common = common.flatMap { range in candidates.map(range.clamped(to:)) }.filter { !$0.isEmpty }
    }
    guard common.isEmpty else { return }
    throw LabError(
      "the backups of \(runs.map(\.disk.name).joined(separator: " and ")) are of different moments:"
        + " \(times)")
  }

  /// Checks that jobs have left nothing: no job, no filter, no busy bitmap, no target.
  public func checkAtRest() throws {
    guard jobs.jobs.isEmpty else {
      throw LabError("jobs are left: \(jobs.jobs.map(\.id).joined(separator: ", "))")
    }
    if let filter = graph.nodes.first(where: { $0.driver.driverName == "copy-before-write" }) {
      throw LabError("a job has left its filter '\(filter.name)'")
    }
    for disk in disks.withLock({ $0 }) {
      guard disk.guest.node === disk.node else {
        throw LabError("\(disk.name): a job has left something above the disk")
      }
      if let bitmap = disk.node.bitmaps.all.first(where: \.isBusy) {
        throw LabError("\(disk.name): the bitmap '\(bitmap.name ?? "")' is busy without a job")
      }
    }
  }
}
