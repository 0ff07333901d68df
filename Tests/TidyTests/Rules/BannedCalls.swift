/// Code that may not stand in Sources, outside the folders named.
struct BannedCall: Sendable {
  /// The code: tokens that touch here must touch in the source; others may.
  let pattern: [Token]
  let text: String
  /// Folders below `Sources` where it may stand.
  let allowed: [String]
  /// Whether a member of that name (`.print(`) is another thing, and fine.
  let unlessMember: Bool
  let remedy: String

  init(_ text: String, in allowed: [String] = [], unlessMember: Bool = false, _ remedy: String) {
    pattern = Lexer.tokens(of: Array(text.utf8))
    self.text = text
    self.allowed = allowed
    self.unlessMember = unlessMember
    self.remedy = remedy
  }

  static let all = traps + tasks + dispatch + clocks + randomness + output

  private static let traps =
    ["try!", "as!"].map { BannedCall($0, "handle the failure, or say why it cannot be") } + [
      BannedCall("fatalError(", "throw, or use precondition with a message")
    ]

  private static let tasks = ["Task {", "Task (", "Task.detached", "Task.immediate", "Task.sleep"]
    .map { BannedCall($0, in: ["Execution"], "go through the World: run, spawn, its clock") }

  private static let dispatch = [
    "Dispatch", "DispatchQueue", "DispatchGroup", "DispatchSemaphore", "DispatchWorkItem",
    "DispatchSource", "DispatchTime", "DispatchIO", "DispatchData",
  ].map { BannedCall($0, "no Dispatch: the World's threads do the work") }

  private static let clocks = [
    "Date(", "Date.now", "gettimeofday", "clock_gettime", "time(nil)", "ContinuousClock",
    "SuspendingClock", "mach_absolute_time",
  ].map { BannedCall($0, in: ["Execution"], "take the time from the World's clock") }

  private static let randomness = [
    "SystemRandomNumberGenerator", "arc4random", "arc4random_uniform", "getrandom", "rand(",
    "UUID(", "Hasher(", ".hashValue",
  ].map { BannedCall($0, in: ["Execution"], "differs from run to run: draw from the World's seed") }

  private static let output = ["print(", "debugPrint("].map {
    BannedCall($0, in: ["LaminaTool"], unlessMember: true, "only the tool prints")
  }
}

extension SourceFile {
  /// The lines where `call` stands in the code.
  func places(of call: BannedCall) -> [Int] {
    let pattern = call.pattern
    return indexes[pattern[0].text, default: []].compactMap { start in
      guard start + pattern.count <= code.count else { return nil }
      for index in pattern.indices.dropFirst() {
        let (token, previous) = (code[start + index], code[start + index - 1])
        guard token.text == pattern[index].text else { return nil }
        let mustTouch = pattern[index].bytes.lowerBound == pattern[index - 1].bytes.upperBound
        if mustTouch && token.bytes.lowerBound != previous.bytes.upperBound { return nil }
      }
      let before = start > 0 ? code[start - 1].text : ""
      if before == "func" || (before == "." && call.unlessMember) { return nil }
      return code[start].line
    }
  }
}
