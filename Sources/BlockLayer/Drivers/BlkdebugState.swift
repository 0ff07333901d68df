internal import Primitives
internal import SystemPackage

/// The rules of a blkdebug node at work.
struct BlkdebugState {
  typealias Task = CheckedContinuation<Void, Never>
  typealias Rule = (number: Int, rule: BlkdebugRules.InjectError)

  /// The state that rules ask for and change.
  private(set) var number = 1
  var breakpoints: [(event: DebugEvent, tag: String)] = []
  /// Requests that stand at a breakpoint, the one stopped first before others.
  var suspended: [(tag: String, request: Task)] = []
  /// Who waits for a request to be stopped.
  var watchers: [(tag: String, watcher: Task)] = []

  private var rules: [Rule]
  private let setStates: [BlkdebugRules.SetState]
  private var active: [Rule] = []

  init(_ rules: BlkdebugRules) {
    self.rules = Array(zip(rules.injectErrors.indices, rules.injectErrors))
    setStates = rules.setStates
  }

  /// Lets an event happen; returns the tag of a breakpoint that holds who raised it.
  ///
  /// All conditions are looked at in the state before the event. Of several rules that change it
  /// the one registered first wins, because QEMU goes through them last to first.
  mutating func happen(_ event: DebugEvent) -> String? {
    let matching = rules.filter { $0.rule.event == event && isCurrent($0.rule.state) }
    if !matching.isEmpty { active = matching }
    if let change = setStates.first(where: { $0.event == event && isCurrent($0.state) }) {
      number = change.newState
    }
    guard let index = breakpoints.firstIndex(where: { $0.event == event }) else { return nil }
    return breakpoints.remove(at: index).tag
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

  /// Takes out who waits for a request to be stopped under `tag`.
  mutating func takeWatchers(of tag: String) -> [Task] {
    let found = watchers.filter { $0.tag == tag }.map(\.watcher)
    watchers.removeAll { $0.tag == tag }
    return found
  }

  private func isCurrent(_ state: Int?) -> Bool { state == nil || state == 0 || state == number }

  private func touches(_ range: ByteRange, _ sector: Int?) -> Bool {
    guard let sector else { return true }
    let (offset, overflow) = sector.multipliedReportingOverflow(by: 512)
    return !overflow && range.contains(offset)
  }
}
