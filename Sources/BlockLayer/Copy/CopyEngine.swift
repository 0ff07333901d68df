public import DirtyBitmap
public import Primitives
internal import Synchronization

/// Copies the clusters of one disk to another as they were at one moment, although the disk goes on
/// being written to.
///
/// It keeps the *copy bitmap*: a bit for each copy cluster that is still to be copied. Whoever
/// copies a cluster claims it first, by clearing its bit: the background's workers, who walk the
/// disk, and the copy-before-write filter, which copies what a guest is about to overwrite. So each
/// cluster is copied once, with the bytes it had when the copy began. A claim that fails sets its
/// bits again.
///
/// No lock is held while data moves. Lock order: the engine's state is a leaf.
///
/// Source: QEMU's block-copy; the cluster size is that of the QMP schema's `blockdev-backup`.
public final class CopyEngine: Sendable {
  /// The size of a copy cluster in bytes, a power of two.
  public let clusterSize: Int
  /// The length of both disks in bytes.
  public let length: Int
  let source: BlockEdge
  let target: BlockEdge
  /// Whether data is written compressed.
  let compresses: Bool
  private let state: Mutex<CopyState>
  /// Shut while the graph changes: the background begins no task then.
  ///
  /// What copies for a guest enters by the guest's door.
  let door = RequestDoor()

  /// Makes an engine between the nodes of two edges, with nothing to copy yet.
  ///
  /// With `compresses`, data is written compressed: the target's driver is a `CompressingImage`,
  /// and no cluster of its own is longer than a copy cluster. Throws when the disk has too many
  /// clusters for a bitmap.
  public init(
    source: BlockEdge, target: BlockEdge, clusterSize: Int, compresses: Bool = false
  ) throws(BlockError) {
    self.source = source
    self.target = target
    self.compresses = compresses
    self.clusterSize = clusterSize
    length = source.node.length
    do {
      state = Mutex(try CopyState(length: length, clusterSize: clusterSize))
    } catch {
      throw BlockError(.bitmap, error.message, node: source.node.name, cause: error)
    }
  }

  /// The copy cluster for a target: its own cluster size, but at least 64 KiB.
  ///
  /// A target without a backing file cannot fill the rest of a cluster of its own that is written
  /// in part, so whole ones are copied.
  public static func clusterSize(for target: BlockNode) -> Int {
    max(CopyLimits.minimumClusterSize, target.clusterSize)
  }

  /// How far the copy is.
  public var progress: CopyProgress { state.withLock { $0.progress } }

  // MARK: - What is to be copied

  /// Marks the whole disk.
  ///
  /// Like every marking, only before the first claim: the bytes must still be the old ones.
  public func markAll() { state.withLock { $0.pending.setAll() } }

  /// Marks what is dirty in `bits`, a bitmap of the disk's size, rounded out to clusters.
  public func mark(_ bits: borrowing HierarchicalBitmap) throws(BitmapError) {
    // Run by run, not by merging under the lock: a bitmap of another owner does not enter ours.
    guard bits.size == length else {
      throw .differentSizes(destination: length, source: bits.size)
    }
    bits.forEachRun { run in state.withLock { $0.pending.set(run) } }
  }

  /// Takes the clusters that lie wholly in `range` off the list, those being copied excepted.
  ///
  /// Allowed at any time: what the copy leaves out needs no saving either.
  public func unmark(_ range: ByteRange) {
    changing { $0.pending.reset(range) }
  }

  /// The runs that are still to be copied, from low to high, clipped to the disk.
  ///
  /// Those being copied are not among them: ask when none is.
  public func pendingRuns() -> [ByteRange] { state.withLock { $0.pending.runs() } }

  // MARK: - Claims

  /// Claims the next run of clusters for a copy of the whole disk, at most `maxLength` bytes or one
  /// cluster.
  public func claimNext(maxLength: Int) -> CopyClaim {
    state.withLock { $0.claimNext(maxLength: maxLength) }
  }

  /// Claims like `claimNext`, for a task that the graph's changes wait for: it has to end with
  /// `endBackgroundTask()`.
  ///
  /// Waits while the graph is being changed.
  public func beginBackgroundTask(maxLength: Int) async -> CopyClaim {
    await door.enter()
    let claim = claimNext(maxLength: maxLength)
    if case .task = claim { return claim }
    door.leave()
    return claim
  }

  /// Ends what `beginBackgroundTask(maxLength:)` began, copied or not.
  public func endBackgroundTask() { door.leave() }

  /// Claims the next run within `window`, which is made of whole clusters.
  func claim(in window: ByteRange, maxLength: Int) -> CopyClaim {
    state.withLock { $0.claim(in: window, maxLength: maxLength) }
  }

  /// Adds to a task what follows it, up to `end`; returns where it ends then.
  func extend(_ task: CopyTask, to end: Int) -> Int {
    state.withLock { $0.extend(task, to: end) }
  }

  /// Counts a task's bytes before `position` as copied; returns what is left of it.
  func advance(_ task: CopyTask, to position: Int) -> ByteRange {
    changing { $0.advance(task, to: position) }
  }

  /// Gives a task's rest back, to be copied later.
  func fail(_ task: CopyTask) {
    changing { $0.fail(task) }
  }

  // MARK: - Waiting

  /// Suspends until something has changed since the claim that answered `busy(version)`.
  ///
  /// Does not observe cancellation: call `wakeWaiters()`.
  public func waitForChange(after version: UInt64) async {
    await withCheckedContinuation { continuation in
      let isQueued = state.withLock { $0.enqueue(continuation, after: version) }
      if !isQueued { continuation.resume() }
    }
  }

  /// Makes those who wait for a change look again, so that they see a job's end.
  public func wakeWaiters() { changing { $0.touch() } }

  private func changing<T: Sendable>(_ body: (inout CopyState) -> T) -> T {
    let (result, woken) = state.withLock { state in
      let result = body(&state)
      return (result, state.takeWaiters())
    }
    for waiter in woken { waiter.resume() }
    return result
  }
}
