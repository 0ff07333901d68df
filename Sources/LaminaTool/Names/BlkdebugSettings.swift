internal import BlockLayer
internal import SystemPackage

/// The rules and limits of a blkdebug node, from options and from a configuration file.
struct BlkdebugSettings {
  private(set) var rules = BlkdebugRules()
  private(set) var limits = BlkdebugLimits()

  /// The rules of a configuration file; none without one.
  init(file: String?) async throws(BlockError) {
    guard let file else { return }
    rules = try await BlkdebugConfiguration.rules(of: file)
  }

  /// Takes what options say, besides.
  mutating func take(_ settings: inout NodeSettings) throws(BlockError) {
    limits.align = try settings.takeSize("align")
    limits.maxTransfer = try settings.takeSize("max-transfer")
    limits.optWriteZero = try settings.takeSize("opt-write-zero")
    limits.maxWriteZero = try settings.takeSize("max-write-zero")
    limits.optDiscard = try settings.takeSize("opt-discard")
    limits.maxDiscard = try settings.takeSize("max-discard")
    for rule in settings.takeList("inject-error") {
      rules.injectErrors.append(try BlkdebugRules.InjectError(rule))
    }
    for rule in settings.takeList("set-state") {
      rules.setStates.append(try BlkdebugRules.SetState(rule))
    }
  }
}

extension DebugEvent {
  fileprivate init(_ settings: inout NodeSettings) throws(BlockError) {
    guard let name = settings.take("event") else {
      throw BlockError(.invalidArgument, "Missing event name for rule")
    }
    guard let event = DebugEvent(rawValue: name) else {
      throw BlockError(.invalidArgument, "invalid parameter value: \(OptionText.printable(name))")
    }
    self = event
  }
}

extension BlkdebugRules.InjectError {
  /// The rule that options describe.
  init(_ given: NodeSettings) throws(BlockError) {
    var settings = given
    self.init(event: try DebugEvent(&settings))
    state = try settings.takeSize("state").flatMap { $0 == 0 ? nil : $0 }
    if let name = settings.take("iotype") {
      guard let kind = BlkdebugRules.RequestKind(rawValue: name) else {
        throw BlockError(
          .invalidArgument, "invalid parameter value: \(OptionText.printable(name))")
      }
      requests = kind
    }
    if let number = try settings.takeSize("errno") {
      errno = Errno(rawValue: Int32(clamping: number))
    }
    if let text = settings.take("sector"), text != "-1" {
      var again = NodeSettings()
      again.set("sector", .string(text))
      sector = try again.takeSize("sector")
    }
    once = try settings.takeFlag("once") ?? false
    immediately = try settings.takeFlag("immediately") ?? false
    try settings.checkEmpty()
  }
}

extension BlkdebugRules.SetState {
  /// The rule that options describe.
  init(_ given: NodeSettings) throws(BlockError) {
    var settings = given
    let event = try DebugEvent(&settings)
    let state = try settings.takeSize("state").flatMap { $0 == 0 ? nil : $0 }
    self.init(event: event, state: state, newState: try settings.takeSize("new_state") ?? 0)
    try settings.checkEmpty()
  }
}

extension NodeSettings {
  /// Throws for a parameter that nobody has taken.
  fileprivate func checkEmpty() throws(BlockError) {
    guard let key = firstKey else { return }
    throw BlockError(.invalidArgument, "Invalid parameter '\(OptionText.printable(key))'")
  }
}
