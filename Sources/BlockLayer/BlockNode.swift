public import Execution
internal import Synchronization

/// A named vertex of the block graph: a driver with what every driver needs around it.
///
/// The node checks and shapes requests (`RequestPath`), keeps its dirty bitmaps, knows its users
/// and asks its driver for the rest. Make nodes through a `BlockGraph`.
public final class BlockNode: Sendable {
  /// The node's name, unique in its graph.
  public let name: String
  /// The driver.
  public let driver: any BlockDriver
  /// How the node was opened.
  public let options: NodeOptions
  /// The World whose threads run the node's requests.
  public let world: World
  /// The node's dirty bitmaps.
  public let bitmaps: NodeBitmaps

  let limits: BlockLimits
  /// Who is told of debug events that happen at this node: blkdebug, if it is the driver.
  let eventSink: (any DebugEventSink)?
  /// Serialises padded writes; others do not take it.
  let paddingLock = RangeLock()
  /// Counts writes, so that a flush of an unchanged node costs nothing.
  let writes = Atomic<Int>(0)
  let flushedWrites = Atomic<Int>(0)
  /// The sync that failed; see `checkHealthy`.
  private let failedSync = Mutex<BlockError?>(nil)
  private let isPoisoned = Atomic<Bool>(false)
  private let users = Mutex<[WeakEdge]>([])

  private struct WeakEdge {
    weak var edge: BlockEdge?
  }

  init(name: String, driver: any BlockDriver, options: NodeOptions, world: World) {
    self.name = name
    self.driver = driver
    self.options = options
    self.world = world
    limits = driver.limits
    eventSink = driver as? any DebugEventSink
    bitmaps = NodeBitmaps(node: name, length: driver.length)
    for edge in driver.children {
      precondition(edge.node.world === world, "nodes of two Worlds cannot be mixed in a graph")
      edge.adopt(by: self)
    }
  }

  /// The size in bytes.
  public var length: Int { driver.length }

  /// Notes that the driver could not make writes durable.
  func poison(_ error: BlockError) {
    failedSync.withLock { if $0 == nil { $0 = error } }
    isPoisoned.store(true, ordering: .releasing)
  }

  /// Throws `poisoned` once the driver has failed to make writes durable.
  ///
  /// The host may have dropped them, and may report success the next time. So the node still reads,
  /// but whatever changes it, and every flush, is refused until it is opened anew.
  func checkHealthy() throws(BlockError) {
    guard isPoisoned.load(ordering: .relaxed), let error = failedSync.withLock({ $0 }) else {
      return
    }
    throw BlockError(
      .poisoned,
      "an earlier flush failed (\(error.message)), so what was written may be lost; "
        + "close the image and check it",
      errno: error.errno, node: name, cause: error)
  }

  /// Throws what refuses changes of the image that may give it `length`: a failure to make writes
  /// durable, or a bitmap.
  package func checkChangeable(to length: Int) throws(BlockError) {
    try checkHealthy()
    if length != self.length { try checkResizable(to: length) }
  }

  /// Whether writes are refused.
  public var isReadOnly: Bool { options.isReadOnly }

  /// The unit in which the driver allocates, in bytes; 0 where it has none.
  ///
  /// A filter has its data child's.
  public var clusterSize: Int { dataNode.limits.clusterSize }

  /// The node whose contents this one shows for what it has not itself, if there is one.
  public var backing: BlockNode? {
    driver.children.first { $0.role == .backing }?.node
  }

  /// The child that carries the data: a format's file, a filter's filtered node.
  public var primary: BlockNode? {
    driver.children.first { $0.role == .file }?.node
  }

  /// The first node from here down that is no filter.
  public var dataNode: BlockNode {
    var node = self
    while node.driver.isFilter, let below = node.primary { node = below }
    return node
  }

  /// The users above, in the order in which they were attached.
  public var parentEdges: [BlockEdge] { users.withLock { $0.compactMap(\.edge) } }

  func attach(_ edge: BlockEdge) {
    users.withLock { users in
      users.removeAll { $0.edge == nil }
      users.append(WeakEdge(edge: edge))
    }
  }

  func detach(_ edge: BlockEdge) {
    users.withLock { users in users.removeAll { $0.edge == nil || $0.edge === edge } }
  }
}

/// How a node treats requests.
public struct NodeOptions: Sendable {
  /// What happens to discards.
  public enum Discard: Sendable {
    /// They are dropped before anything sees them.
    case ignore
    /// They reach the driver.
    case unmap
  }

  /// What happens to written data that is all zeros.
  public enum DetectZeroes: Sendable {
    /// It is written as data.
    case off
    /// It becomes a write-zeroes request.
    case on
    /// It becomes a write-zeroes request that may give up the space.
    case unmap
  }

  /// Whether writes are refused.
  public var isReadOnly: Bool
  /// What happens to discards.
  public var discard: Discard
  /// What happens to written zeros.
  public var detectZeroes: DetectZeroes
  /// Whether a flush leaves it to the host when writes become durable: QEMU's `cache.no-flush`.
  ///
  /// For files that are of no use after a loss of power, such as one that is being made.
  public var ignoresFlush = false

  /// A writable node that ignores discards, as QEMU's defaults are.
  public init(
    isReadOnly: Bool = false, discard: Discard = .ignore, detectZeroes: DetectZeroes = .off
  ) {
    self.isReadOnly = isReadOnly
    self.discard = discard
    self.detectZeroes = detectZeroes
  }
}
