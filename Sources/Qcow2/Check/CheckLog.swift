internal import BlockLayer

/// What a check has found so far.
struct CheckLog {
  /// The counters, and no findings: those are in `findings` until the end.
  private(set) var result = ImageCheck()
  /// The findings, as many as are kept.
  private(set) var findings: [LoggedFinding] = []
  /// The leaked clusters that were freed.
  private(set) var leaksFixed = 0
  /// The corruptions that were put right.
  private(set) var corruptionsFixed = 0
  /// What could not be checked, in words; as many as are kept.
  private(set) var errors: [String] = []
  /// How often something could not be followed or read.
  private(set) var defects = 0
  private let limit: Int

  init(keeping limit: Int) { self.limit = limit }

  /// Notes a finding that `count` references run into.
  mutating func add(_ finding: CheckFinding, times count: Int = 1) {
    guard count > 0 else { return }
    switch finding.kind {
    case .leak: result.leaks = result.leaks.addingClamped(count)
    case .notice: break
    default: result.corruptions = result.corruptions.addingClamped(count)
    }
    if !isFull { findings.append(LoggedFinding(finding: finding, count: count, isRepaired: false)) }
  }

  /// Notes something that was found and put right.
  mutating func addRepaired(_ finding: CheckFinding, times count: Int = 1) {
    switch finding.kind {
    case .leak: leaksFixed = leaksFixed.addingClamped(count)
    default: corruptionsFixed = corruptionsFixed.addingClamped(count)
    }
    if !isFull { findings.append(LoggedFinding(finding: finding, count: count, isRepaired: true)) }
  }

  /// Whether findings are only counted from now on.
  var isFull: Bool { findings.count >= limit }

  /// Counts leaks of which nothing is to be said.
  mutating func addLeaks(_ count: Int) { result.leaks = result.leaks.addingClamped(count) }

  /// Notes that `count` places could not be checked; nothing may be freed after such a walk.
  mutating func addError(_ message: String, places count: Int = 1) {
    result.checkErrors = result.checkErrors.addingClamped(count)
    setIncomplete()
    if errors.count < limit { errors.append(message) }
  }

  /// Notes that a damaged reference could not be followed, so that what is behind it may look
  /// unused.
  mutating func setIncomplete() {
    result.isComplete = false
    defects += 1
  }

  /// Changes the statistics.
  mutating func update(_ change: (inout ImageCheck) -> Void) { change(&result) }

  /// The result with its findings.
  func finished() -> ImageCheck {
    var check = result
    check.findings =
      findings.map(ImageCheck.Finding.init) + errors.map { ImageCheck.Finding(.checkError, $0) }
    return check
  }
}

/// A finding, and how often it was met.
struct LoggedFinding: FindingText {
  let finding: CheckFinding
  let count: Int
  let isRepaired: Bool

  var message: String {
    if isRepaired { return finding.repairMessage }
    if count == 1 { return finding.message }
    if case .leakedBehindFile = finding { return finding.message }  // tells the number itself
    return "\(finding.message) (\(count) times)"
  }
}

extension ImageCheck.Finding {
  fileprivate init(_ logged: LoggedFinding) {
    self.init(logged.isRepaired ? .repaired : logged.finding.kind, logged)
  }
}

extension Int {
  /// The sum of two numbers that are not negative, or the largest number.
  func addingClamped(_ other: Int) -> Int {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }

  /// The product of two numbers that are not negative, or the largest number.
  func multipliedClamped(by other: Int) -> Int {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
