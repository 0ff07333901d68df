internal import DirtyBitmap
internal import Primitives

/// Which clusters are still to be copied, which are being copied, and how much was.
///
/// Plain values under the engine's `Mutex`. Invariants:
///
/// 1. A cluster that is set in `pending`, or belongs to a task, holds what it held when the copy
///    began: nobody has overwritten it since.
/// 2. A cluster is never both set and in a task, and never in two tasks.
/// 3. A cluster that is neither will not be either again: only the failure of a task sets bits, its
///    own. So who has seen that its clusters are free may overwrite them, without any lock.
/// 4. Clusters set + clusters in tasks + clusters completed = the progress's total.
struct CopyState {
  private struct Running {
    let number: UInt64
    var range: ByteRange
  }

  let clusterSize: Int
  let length: Int
  /// The clusters still to be copied: QEMU's copy bitmap.
  let pending: HierarchicalBitmap
  private var tasks: [Running] = []
  private var lastNumber: UInt64 = 0
  /// Where the background looks for its next run.
  private var cursor = 0
  private var completed = 0
  private var inFlight = 0
  /// Counts the ends of tasks and what else may concern those who wait.
  private(set) var version: UInt64 = 0
  private var waiters: [CheckedContinuation<Void, Never>] = []

  init(length: Int, clusterSize: Int) throws(BitmapError) {
    self.length = length
    self.clusterSize = clusterSize
    pending = try HierarchicalBitmap(size: length, granularity: clusterSize)
  }

  var progress: CopyProgress {
    CopyProgress(
      completed: completed, remaining: pending.dirtyByteCount.addingSaturated(inFlight))
  }

  // MARK: - Claims

  /// Claims the next run from the cursor on, round the end of the disk once.
  mutating func claimNext(maxLength: Int) -> CopyClaim {
    if pending.isEmpty { return tasks.isEmpty ? .done : .busy(version) }
    let ahead = pending.takeNextRun(in: ByteRange(cursor, length), maxLength: maxLength)
    let run = ahead ?? pending.takeNextRun(in: pending.bounds, maxLength: maxLength)
    guard let run else { preconditionFailure("a bitmap that is not empty has a run") }
    cursor = run.upper
    return .task(start(run))
  }

  /// Claims the next run within `window`, whole clusters; busy when a part of it is being copied.
  mutating func claim(in window: ByteRange, maxLength: Int) -> CopyClaim {
    if let run = pending.takeNextRun(in: window, maxLength: maxLength) { return .task(start(run)) }
    return tasks.contains { $0.range.overlaps(window) } ? .busy(version) : .done
  }

  private mutating func start(_ range: ByteRange) -> CopyTask {
    lastNumber += 1
    tasks.append(Running(number: lastNumber, range: range))
    inFlight += clusterBytes(range)
    return CopyTask(number: lastNumber, range: range)
  }

  // MARK: - A task's life

  /// Adds to the task the clusters behind it that are still to be copied without a gap, up to
  /// `end`, a cluster's bound or the disk's; returns where the task ends now.
  mutating func extend(_ task: CopyTask, to end: Int) -> Int {
    let index = index(of: task)
    let upper = tasks[index].range.upper
    guard upper < end else { return upper }
    let newUpper = pending.nextClear(in: ByteRange(upper, end)) ?? end
    let added = ByteRange(upper, newUpper)
    pending.reset(added)
    inFlight += clusterBytes(added)
    tasks[index].range = ByteRange(tasks[index].range.lower, newUpper)
    return newUpper
  }

  /// Counts the task's clusters before `position` as completed; returns what is left of it.
  ///
  /// A task with nothing left has ended.
  mutating func advance(_ task: CopyTask, to position: Int) -> ByteRange {
    let index = index(of: task)
    let range = tasks[index].range
    let done = clusterBytes(ByteRange(range.lower, position))
    completed = completed.addingSaturated(done)
    inFlight -= done
    let rest = ByteRange(position, range.upper)
    tasks[index].range = rest
    if rest.isEmpty { remove(index) }
    version += 1
    return rest
  }

  /// Ends the task: what it has not completed is to be copied again.
  mutating func fail(_ task: CopyTask) {
    let index = index(of: task)
    let range = tasks[index].range
    pending.set(range)
    inFlight -= clusterBytes(range)
    remove(index)
    version += 1
  }

  private func index(of task: CopyTask) -> Int {
    guard let index = tasks.firstIndex(where: { $0.number == task.number }) else {
      preconditionFailure("a copy task was used after its end")
    }
    return index
  }

  private mutating func remove(_ index: Int) {
    tasks.swapAt(index, tasks.count - 1)
    tasks.removeLast()
  }

  private func clusterBytes(_ range: ByteRange) -> Int {
    range.count.dividedRoundingUp(by: clusterSize) * clusterSize
  }

  // MARK: - Waiting

  /// Makes those who wait look again.
  mutating func touch() { version += 1 }

  /// Keeps `waiter` until something changes after `version`; false when it has already.
  mutating func enqueue(_ waiter: CheckedContinuation<Void, Never>, after version: UInt64) -> Bool {
    guard self.version == version else { return false }
    waiters.append(waiter)
    return true
  }

  /// Those who wait, to be resumed outside of the lock.
  mutating func takeWaiters() -> [CheckedContinuation<Void, Never>] {
    guard !waiters.isEmpty else { return [] }
    defer { waiters = [] }
    return waiters
  }
}
