internal import Primitives
internal import SystemPackage

/// The rules of a blkdebug node at work.
struct BlkdebugState {
  typealias Task = CheckedContinuation<Void, Never>
  typealias Rule = (number: Int, rule: BlkdebugRules.InjectError)
  /// One hold on a request; one that stands at several breakpoints has several of its number.
  typealias Hold = (tag: String, number: Int, request: Task)

  /// The state that rules ask for and change.
  private(set) var number = 1
  var breakpoints: [(event: DebugEvent, tag: String)] = []
  /// Requests that stand at a breakpoint, the one stopped first before others.
  private(set) var suspended: [Hold] = []
  private var stopCount = 0
  /// Who is told of stops, while the state's lock is held: so in their order.
  var observer: (@Sendable (BlkdebugDriver.Stop) -> Void)?
  /// Who waits for a request to be stopped.
  var watchers: [(tag: String, watcher: Task)] = []

  private var rules: [Rule]
  private let setStates: [BlkdebugRules.SetState]
  private var active: [Rule] = []

  init(_ rules: BlkdebugRules) {
    self.rules = Array(zip(rules.injectErrors.indices, rules.injectErrors))
    setStates = rules.setStates
  }

  /// Lets an event happen; returns the tags of the breakpoints that hold who raised it, the newest
  /// first.
  ///
  /// All conditions are looked at in the state before the event. Of several rules that change it
  /// the one registered first wins, because QEMU goes through them last to first.
  mutating func happen(_ event: DebugEvent) -> [String] {
    let matching = rules.filter { $0.rule.event == event && isCurrent($0.rule.state) }
    if !matching.isEmpty { active = matching }
    if let change = setStates.first(where: { $0.event == event && isCurrent($0.state) }) {
      number = change.newState
    }
    guard !breakpoints.isEmpty else { return [] }
    let tags = breakpoints.filter { $0.event == event }.map(\.tag)
    breakpoints.removeAll { $0.event == event }
    return tags.reversed()
  }

  /// The first active rule for such a request, if it makes requests fail; one that does so once
  /// is gone then.
  mutating func failure(
    for kind: BlkdebugRules.RequestKind, _ range: ByteRange
  ) -> BlkdebugRules.InjectError? {
    let first = active.first { rule in
      let isOfKind = rule.rule.requests.map { $0 == kind } ?? (kind != .blockStatus)
      return isOfKind && touches(range, rule.rule.sector)
    }
    guard let first, first.rule.errno.rawValue != 0 else { return nil }
    if first.rule.once {
      active.removeAll { $0.number == first.number }
      rules.removeAll { $0.number == first.number }
    }
    return first.rule
  }

  /// Notes that a request stands at breakpoints; returns who waited for that.
  mutating func suspend(_ request: Task, under tags: [String]) -> [Task] {
    stopCount += 1
    for tag in tags {
      suspended.append((tag, stopCount, request))
      observer?(.stopped(tag))
    }
    let found = watchers.filter { tags.contains($0.tag) }.map(\.watcher)
    watchers.removeAll { tags.contains($0.tag) }
    return found
  }

  /// Whether a request stands under `tag`.
  func isStopped(at tag: String) -> Bool { suspended.contains { $0.tag == tag } }

  /// Lets go of the request that was stopped last under such a tag; false when there is none.
  ///
  /// It is returned, to be resumed, when no other breakpoint holds it.
  mutating func letGoOfLast(where isMeant: (String) -> Bool) -> (wasThere: Bool, request: Task?) {
    guard let index = suspended.lastIndex(where: { isMeant($0.tag) }) else { return (false, nil) }
    let hold = suspended.remove(at: index)
    observer?(.resumed(hold.tag))
    return (true, suspended.contains { $0.number == hold.number } ? nil : hold.request)
  }

  /// Lets go of all requests that are stopped under such tags, as `letGoOfLast(where:)` does.
  mutating func letGo(where isMeant: (String) -> Bool) -> [Task] {
    var requests: [Task] = []
    while case let (wasThere, request) = letGoOfLast(where: isMeant), wasThere {
      if let request { requests.append(request) }
    }
    return requests
  }

  private func isCurrent(_ state: Int?) -> Bool { state == nil || state == 0 || state == number }

  private func touches(_ range: ByteRange, _ sector: Int?) -> Bool {
    guard let sector else { return true }
    let (offset, overflow) = sector.multipliedReportingOverflow(by: 512)
    return !overflow && range.contains(offset)
  }
}
