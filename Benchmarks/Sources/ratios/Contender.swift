/// One of those who do the same work: Lamina, a yardstick, a peer.
struct Contender {
  /// What is measured; an operation a call.
  enum Work {
    case plain(() -> Void)
    case suspending(() async throws -> Void)
  }

  let name: String
  let work: Work
  /// Brings back the state that the work starts from; not measured.
  var prepare: (() async throws -> Void)?

  /// The name that stands for what this project makes.
  static let ours = "lamina"

  /// A contender whose work leaves its state as it was.
  init(_ name: String, _ work: @escaping () -> Void) {
    self.name = name
    self.work = .plain(work)
  }

  /// A contender whose work needs a state of its own each time.
  init(_ name: String, prepare: @escaping () async throws -> Void, _ work: @escaping () -> Void) {
    self.init(name, work)
    self.prepare = prepare
  }

  /// A contender that waits for requests.
  init(requests name: String, _ work: @escaping () async throws -> Void) {
    self.name = name
    self.work = .suspending(work)
  }
}

/// Contenders for one operation on one subject, and what ours has to reach.
struct Contest {
  let operation: String
  let subject: String
  /// What an operation consists of, such as the runs that a scan finds.
  var unit = "call"
  var unitCount = 1
  var contenders: [Contender]
  /// The name of the contender that the others are divided by.
  let yardstick: String
  var bar: Bar?
}

/// What ours has to reach, by the median.
enum Bar {
  case timesYardstick(Double)
  case nanoseconds(Double)
  case nanosecondsPerUnit(Double)
}
