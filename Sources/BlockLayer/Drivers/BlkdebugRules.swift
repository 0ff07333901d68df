internal import Primitives
public import SystemPackage

/// What a blkdebug node does at which event, and to which requests.
///
/// The node has a state, a number that is 1 at first. Rules of a kind are looked at in the order in
/// which they stand here.
///
/// Source: the QMP schema's `BlockdevOptionsBlkdebug`.
public struct BlkdebugRules: Sendable {
  /// A kind of request.
  ///
  /// Raw values are the names of the QMP schema's `BlkdebugIOType`.
  public enum RequestKind: String, CaseIterable, Sendable {
    case read
    case write
    case writeZeroes = "write-zeroes"
    case discard
    case flush
    case blockStatus = "block-status"
  }

  /// Makes requests fail, from an event on.
  public struct InjectError: Sendable {
    /// The event that arms the rule.
    public var event: DebugEvent
    /// The state in which the event does so; nil in any.
    public var state: Int?
    /// The kind of requests that fail; nil for all but block status.
    public var requests: RequestKind?
    /// The failure; 0 lets the request pass.
    public var errno: Errno
    /// Only requests that touch this sector of 512 bytes fail; nil for any.
    ///
    /// A request without bytes (a flush) touches none.
    public var sector: Int?
    /// Whether the rule is gone after the first failure.
    public var once: Bool
    /// Whether the request fails without a scheduling round trip.
    public var immediately: Bool

    /// A rule; all that is not said is as in QEMU.
    public init(
      event: DebugEvent, state: Int? = nil, requests: RequestKind? = nil, errno: Errno = .ioError,
      sector: Int? = nil, once: Bool = false, immediately: Bool = false
    ) {
      self.event = event
      self.state = state
      self.requests = requests
      self.errno = errno
      self.sector = sector
      self.once = once
      self.immediately = immediately
    }
  }

  /// Changes the state at an event.
  public struct SetState: Sendable {
    /// The event.
    public var event: DebugEvent
    /// The state in which the event does so; nil in any.
    public var state: Int?
    /// The state afterwards.
    public var newState: Int

    /// A rule.
    public init(event: DebugEvent, state: Int? = nil, newState: Int) {
      self.event = event
      self.state = state
      self.newState = newState
    }
  }

  /// The rules that make requests fail.
  public var injectErrors: [InjectError]
  /// The rules that change the state.
  public var setStates: [SetState]

  /// A set of rules; none of a kind that is not given.
  public init(injectErrors: [InjectError] = [], setStates: [SetState] = []) {
    self.injectErrors = injectErrors
    self.setStates = setStates
  }
}

/// Limits that a blkdebug node pretends to have, in bytes; nil leaves one as it is.
///
/// Source: the QMP schema's `BlockdevOptionsBlkdebug`.
public struct BlkdebugLimits: Sendable {
  /// Requests begin and end at multiples of it: a power of two below 2^31.
  public var align: Int?
  /// The longest read or write.
  public var maxTransfer: Int?
  /// Write-zeroes do not cross a multiple of it unless they begin and end at one.
  public var optWriteZero: Int?
  /// The longest write-zeroes.
  public var maxWriteZero: Int?
  /// Discards are shrunk to multiples of it.
  public var optDiscard: Int?
  /// The longest discard.
  public var maxDiscard: Int?

  /// Limits; all that is not said is as the node below has it.
  public init(
    align: Int? = nil, maxTransfer: Int? = nil, optWriteZero: Int? = nil, maxWriteZero: Int? = nil,
    optDiscard: Int? = nil, maxDiscard: Int? = nil
  ) {
    self.align = align
    self.maxTransfer = maxTransfer
    self.optWriteZero = optWriteZero
    self.maxWriteZero = maxWriteZero
    self.optDiscard = optDiscard
    self.maxDiscard = maxDiscard
  }

  /// The limits of a node over one with `below`.
  ///
  /// Throws `invalidArgument`, with QEMU's text, for what contradicts itself. Unlike QEMU it wants
  /// powers of two of the two units.
  func applied(to below: BlockLimits) throws(BlockError) -> BlockLimits {
    let most = Int(Int32.max)
    let align = Self.set(self.align) ?? 1
    guard align < most, align.isPowerOfTwo else { throw Self.misfit("align", align) }
    let unit = max(align, below.requestAlignment)
    func check(_ name: String, _ value: Int?, unit: Int) throws(BlockError) {
      guard let value, value != 0 else { return }
      guard value > 0, value < most, value % unit == 0 else { throw Self.misfit(name, value) }
    }
    try check("max-transfer", maxTransfer, unit: unit)
    try check("opt-write-zero", optWriteZero, unit: unit)
    let zeroUnit = try Self.powerOfTwo("opt-write-zero", optWriteZero, atLeast: unit)
    try check("max-write-zero", maxWriteZero, unit: zeroUnit)
    try check("opt-discard", optDiscard, unit: unit)
    let discardUnit = try Self.powerOfTwo("opt-discard", optDiscard, atLeast: unit)
    try check("max-discard", maxDiscard, unit: discardUnit)
    // What the node below wants besides, it sees to itself.
    return BlockLimits(
      requestAlignment: unit,
      maxTransfer: Self.set(maxTransfer) ?? 1 << 30,
      maxWriteZeroes: Self.set(maxWriteZero) ?? .max,
      zeroesAlignment: zeroUnit,
      discardAlignment: discardUnit,
      maxDiscard: Self.set(maxDiscard) ?? .max,
      clusterSize: below.clusterSize, growsOnWrite: below.growsOnWrite)
  }

  private static func set(_ value: Int?) -> Int? { value == 0 ? nil : value }

  private static func powerOfTwo(
    _ name: String, _ value: Int?, atLeast unit: Int
  ) throws(BlockError) -> Int {
    guard let value = set(value) else { return unit }
    guard value.isPowerOfTwo else { throw misfit(name, value) }
    return value
  }

  private static func misfit(_ name: String, _ value: Int) -> BlockError {
    BlockError(.invalidArgument, "Cannot meet constraints with \(name) \(value)")
  }
}
