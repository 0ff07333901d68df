public import Primitives

/// What a node does with requests: a format, a protocol or a filter.
///
/// Requests reach a driver through its `BlockNode`, which has checked bounds and alignment, split
/// what is too long, and keeps the node's dirty bitmaps. A driver may get any number of requests
/// at once; those that touch different ranges must not wait for each other's data I/O.
///
/// Ranges are bytes of the node. A buffer has exactly the range's length.
public protocol BlockDriver: AnyObject, Sendable {
  /// The driver's name as QEMU spells it: `qcow2`, `file`, `copy-before-write`.
  var driverName: String { get }

  /// The size of the node in bytes.
  var length: Int { get }

  /// What requests must look like; constant while the driver lives.
  var limits: BlockLimits { get }

  /// The edges to the nodes below, in the order `file`, `backing`, others.
  var children: [BlockEdge] { get }

  /// Whether the driver shows its data child's contents unchanged.
  var isFilter: Bool { get }

  /// What this driver needs of the child in `role`, when its own users take and share `parents`.
  func permissions(for role: ChildRole, parents: EdgePermissions, readOnly: Bool)
    -> EdgePermissions

  /// Reads the bytes of `range`.
  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError)

  /// Writes the bytes of `range`. After a failure each sector of it holds old or new bytes.
  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError)

  /// Makes `range` read as zeros. Throws `unsupported` where writing zeros is no better than
  /// writing data: the node then does that.
  func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError)

  /// Tells that the contents of `range` are no longer needed. Throws `unsupported` to ignore it.
  func discard(_ range: ByteRange) async throws(BlockError)

  /// Hands what the driver caches to the node below, in the order that keeps the image
  /// consistent. It may flush the node below for that.
  func writeBack() async throws(BlockError)

  /// Makes what reached the host durable (fdatasync). Only protocol drivers have something to do.
  func sync() async throws(BlockError)

  /// What the bytes from `range.lower` are in this layer. The answer covers at least one byte and
  /// at most the range.
  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus

  /// Writes back, gives up locks and descriptors. No request comes after it.
  func close() async throws(BlockError)
}

extension BlockDriver {
  /// Unlimited, byte-aligned requests.
  public var limits: BlockLimits { BlockLimits() }

  /// None.
  public var children: [BlockEdge] { [] }

  /// Not a filter.
  public var isFilter: Bool { false }

  /// A filter passes its users' permissions through, and shares everything while it has none; a
  /// format reads its children, and owns its file.
  public func permissions(for role: ChildRole, parents: EdgePermissions, readOnly: Bool)
    -> EdgePermissions
  {
    switch role {
    case .file where !isFilter, .dataFile where !isFilter:
      EdgePermissions(
        taken: readOnly ? [.consistentRead] : [.consistentRead, .write, .resize],
        shared: [.consistentRead, .writeUnchanged])
    case .backing:
      EdgePermissions(
        taken: parents.taken.intersection(.consistentRead),
        // Who lives with others writing to the overlay lives with others writing below it: a
        // backup's target may stand on the very source that a guest writes to.
        shared: parents.shared.contains(.write) ? .all : [.consistentRead, .writeUnchanged])
    default: .passedThrough(parents)
    }
  }

  /// Unsupported.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    throw BlockError(.unsupported, "\(driverName) has no cheaper way to write zeroes")
  }

  /// Unsupported.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    throw BlockError(.unsupported, "\(driverName) does not discard")
  }

  /// Nothing to write back.
  public func writeBack() async throws(BlockError) {}

  /// Nothing to make durable.
  public func sync() async throws(BlockError) {}

  /// Nothing to close.
  public func close() async throws(BlockError) {}
}

/// What requests to a driver must look like.
///
/// Sizes are bytes.
public struct BlockLimits: Sendable {
  /// Requests begin and end at multiples of this power of two, or end with the node; the node pads
  /// others.
  public var requestAlignment: Int
  /// The longest read or write; the node splits longer ones.
  ///
  /// A multiple of the alignment.
  public var maxTransfer: Int
  /// The longest write-zeroes; the node splits longer ones.
  public var maxWriteZeroes: Int
  /// Write-zeroes do not cross a multiple of this power of two unless they begin and end at one.
  public var zeroesAlignment: Int
  /// Discards are shrunk to whole multiples of this power of two, the last of which may end with
  /// the node.
  public var discardAlignment: Int
  /// The longest discard; the node splits longer ones.
  public var maxDiscard: Int
  /// The unit in which the driver allocates, 0 where it has none.
  ///
  /// It decides a bitmap's default granularity and a backup's copy cluster.
  public var clusterSize: Int
  /// Whether a write beyond the end makes the node longer.
  public var growsOnWrite: Bool

  /// Unlimited but for what is given.
  public init(
    requestAlignment: Int = 1, maxTransfer: Int = 1 << 30, maxWriteZeroes: Int = .max,
    zeroesAlignment: Int = 1, discardAlignment: Int = 1, maxDiscard: Int = .max,
    clusterSize: Int = 0, growsOnWrite: Bool = false
  ) {
    precondition(
      requestAlignment.isPowerOfTwo && zeroesAlignment.isPowerOfTwo && discardAlignment.isPowerOfTwo
    )
    precondition(maxTransfer >= requestAlignment && maxTransfer.isAligned(to: requestAlignment))
    precondition(maxWriteZeroes >= requestAlignment && maxDiscard >= requestAlignment)
    self.requestAlignment = requestAlignment
    self.maxTransfer = maxTransfer
    self.maxWriteZeroes = maxWriteZeroes
    self.zeroesAlignment = zeroesAlignment
    self.discardAlignment = discardAlignment
    self.maxDiscard = maxDiscard
    self.clusterSize = clusterSize
    self.growsOnWrite = growsOnWrite
  }
}
