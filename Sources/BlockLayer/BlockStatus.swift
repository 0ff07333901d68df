/// What a run of bytes is in one layer of a chain.
public struct BlockStatus: Equatable, Sendable {
  /// The length of the run in bytes, at least 1.
  public var count: Int
  /// Whether this layer decides what is read (data or zeros); where not, the layer below does.
  public var isAllocated: Bool
  /// Whether the run reads as zeros without looking further down.
  public var isZero: Bool
  /// Whether the layer keeps bytes for the run that would be read.
  public var isData: Bool
  /// Where the run's bytes stand in the child's address space (for `file`: on the host), if they
  /// stand there as they are.
  public var offset: Int?
  /// Whether the run is stored compressed.
  public var isCompressed: Bool
  /// Whether the bytes at `offset` of the child may be a hole, so that asking the child pays.
  public var mayRecurse: Bool

  /// Makes a status; all that is not said is false.
  public init(
    count: Int, isAllocated: Bool = false, isZero: Bool = false, isData: Bool = false,
    offset: Int? = nil, isCompressed: Bool = false, mayRecurse: Bool = false
  ) {
    self.count = count
    self.isAllocated = isAllocated
    self.isZero = isZero
    self.isData = isData
    self.offset = offset
    self.isCompressed = isCompressed
    self.mayRecurse = mayRecurse
  }
}

/// What a run of bytes is, seen through a whole backing chain.
public struct ChainStatus: Equatable, Sendable {
  /// The length of the run in bytes, at least 1.
  public var count: Int
  /// The layer that decides: 0 is the node asked, 1 its backing node, and so on.
  ///
  /// Where no layer decides, the deepest one that was asked.
  public var depth: Int
  /// The deciding layer's answer.
  public var status: BlockStatus
}
