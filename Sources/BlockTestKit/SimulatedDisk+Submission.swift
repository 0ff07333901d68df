internal import BlockLayer
internal import Execution
internal import Primitives
internal import SystemPackage

/// What became of an operation when it reached the disk.
struct Submission {
  /// How it will fail, if it will.
  var errno: Errno?
  /// The virtual time it takes.
  var nanoseconds: UInt64
  /// The last completion before it.
  var mark: Int
  /// The pending operation that will complete with it.
  var done: Int?
  /// The pending operation that will fail with it.
  var failed: Int?
}

extension SimulatedDisk.State {
  /// Lets an operation reach the disk: faults are decided, and a change becomes visible.
  mutating func submit(
    _ operation: DiskOperation, _ range: ByteRange, _ change: DiskChange?
  ) -> Submission {
    counts[operation, default: 0] += 1
    var submission = Submission(nanoseconds: 0, mark: log.lastCompletion)
    if let latency = faults.plan.latency {
      submission.nanoseconds = UInt64.random(in: latency[operation], using: &random)
    }
    let fault = faults.count(operation, range)
    submission.errno = fault?.errno
    if let change { submit(change, fault, &submission) }
    return submission
  }

  private mutating func submit(
    _ change: DiskChange, _ fault: FaultPlan.Fault?, _ submission: inout Submission
  ) {
    let accepted = accept(change, fault, &submission)
    guard forgets else {
      if fault == nil || !accepted.isEmpty { change.part(accepted).apply(to: &visible) }
      return
    }
    let rest = ByteRange(accepted.upper, change.range.upper)
    if fault == nil || !accepted.isEmpty {
      submission.done = record(change.part(accepted))
    }
    if submission.errno != nil, !rest.isEmpty {
      submission.failed = recordFailing(change.part(rest))
    }
  }

  /// The part of a change that takes place.
  private mutating func accept(
    _ change: DiskChange, _ fault: FaultPlan.Fault?, _ submission: inout Submission
  ) -> ByteRange {
    let nothing = change.range.prefix(0)
    guard change.operation == .write else { return fault == nil ? change.range : nothing }
    if let fault {
      let end = min(change.range.lower + fault.writtenBytes, change.range.upper)
      return ByteRange(
        change.range.lower, max(change.range.lower, end.roundedDown(to: Sector.size)))
    }
    guard let capacity = faults.plan.capacity else { return change.range }
    let fitting = visible.fitting(change.range, free: max(capacity - visible.allocatedBytes, 0))
    if fitting != change.range {
      submission.errno = .noSpace
      faults.countFull()
    }
    return fitting
  }

  /// Makes a change that readers see from now on.
  private mutating func record(_ change: DiskChange) -> Int {
    let number = log.nextNumber()
    let touched = log.sectors(touchedBy: change, in: visible)
    let oldLength = visible.length
    change.apply(to: &visible)
    log.add(
      number, change, touched, newLength: visible.length == oldLength ? nil : visible.length,
      in: visible)
    return number
  }

  /// Makes a change that readers do not see, but that a crash may leave.
  private mutating func recordFailing(_ change: DiskChange) -> Int {
    let number = log.nextNumber()
    var changed = visible
    change.apply(to: &changed)
    log.add(
      number, change, log.sectors(touchedBy: change, in: visible),
      newLength: changed.length == visible.length ? nil : changed.length, in: changed)
    return number
  }

  /// Lets an operation return.
  mutating func complete(_ submission: Submission, _ operation: DiskOperation) {
    if let done = submission.done { log.complete(done, as: .completed) }
    if let failed = submission.failed { log.complete(failed, as: .failed) }
    guard operation == .sync, forgets else { return }
    if submission.errno != nil {
      log.orphan(completedUpTo: submission.mark)
    } else {
      log.settle(&durable, completedUpTo: submission.mark)
    }
  }
}
