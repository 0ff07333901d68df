public import BlockLayer
public import Execution
internal import Primitives
internal import Synchronization
internal import SystemPackage

/// A host file in memory that forgets in a crash what no sync has made durable.
///
/// The model, M1 to M5 of which code that keeps its promises over a crash may assume no more:
///
/// 1. M1: a sector of 512 bytes is atomic. It holds what it held, or what some later operation left
///    in it.
/// 2. M2: without a sync between them, changes know no order, not even the parts of one write.
/// 3. M3: a sync that succeeds makes durable what had *completed* before it was *submitted*. After
///    one that fails nothing since the last success is certain, and trying again does not help.
/// 4. M4: the file's length after a crash lies between those it has had since the last sync: where
///    a write, or a part of one, ended. What lies between its new parts reads as zeros.
/// 5. M5: discards, zeroes and truncation are writes.
///
/// Every operation is a scheduling point of its World before and after it, so that in a simulated
/// World the seed decides how requests interleave. `crashPoint()` takes down, at any moment, what a
/// crash could leave.
public final class SimulatedDisk: BlockDriver, ResizableImage, SpaceReserving {
  /// A moment in the life of one operation.
  public enum Phase: Sendable, Hashable {
    /// It has just reached the disk: from now on a crash may find it done.
    case submitted
    /// It is about to take effect for good: for a sync, the last moment at which a crash loses
    /// anything.
    case completing
    /// It has succeeded.
    case completed
    /// It has failed.
    case failed
  }

  /// Who is told of each operation, on the disk's own task.
  public typealias Observer = @Sendable (_ operation: DiskOperation, _ phase: Phase) -> Void

  struct State {
    var visible: SparseImage
    var durable: SparseImage
    var log = PendingLog()
    var faults: FaultCounters
    var counts: [DiskOperation: Int] = [:]
    var random: SeededGenerator
    var observer: Observer?
    let forgets: Bool
  }

  /// The World in which the disk's operations take place.
  public let world: World
  /// The limits that requests must keep.
  public let limits: BlockLimits
  /// Whether operations yield and take time.
  public let hasSchedulingPoints: Bool
  let state: Mutex<State>

  /// Makes a disk whose durable contents are `image`.
  ///
  /// Writes beyond the end make it longer. Without `schedulingPoints` operations neither yield nor
  /// take time, which suits a disk that is only looked at. One that does not `forget` makes every
  /// change durable at once: for scenarios without crashes, a third faster.
  public init(
    _ image: SparseImage = SparseImage(), in world: World, faults: FaultPlan = .none,
    requestAlignment: Int = 1, schedulingPoints: Bool = true, forgets: Bool = true
  ) {
    self.world = world
    limits = BlockLimits(requestAlignment: requestAlignment, growsOnWrite: true)
    hasSchedulingPoints = schedulingPoints
    state = Mutex(
      State(
        visible: image, durable: image, faults: FaultCounters(faults),
        random: world.makeRandom("simulated disk"), forgets: forgets))
  }

  /// `simulated`.
  public var driverName: String { "simulated" }

  /// The length that readers see, in bytes.
  public var length: Int { state.withLock { $0.visible.length } }

  // MARK: - Contents

  /// What readers see.
  public var visibleImage: SparseImage { state.withLock { $0.visible } }

  /// What every crash leaves, but for the parts that pending operations change.
  public var durableImage: SparseImage {
    state.withLock { $0.forgets ? $0.durable : $0.visible }
  }

  /// The operations that no sync has made durable, in submission order.
  public var pending: [PendingOperation] { state.withLock { $0.log.operations } }

  /// What a crash at this moment could leave.
  ///
  /// Cheap: it shares the disk's blocks.
  public func crashPoint() -> CrashPoint {
    state.withLock { state in
      CrashPoint(
        durable: state.forgets ? state.durable : state.visible, pending: state.log.operations)
    }
  }

  /// The states that a crash at this moment could leave, as far as `plan` has them made.
  public func crashStates(_ plan: CrashPlan = CrashPlan(), seed: UInt64) -> CrashStates {
    crashPoint().states(plan, seed: seed)
  }

  // MARK: - Faults and observation

  /// What goes wrong from now on.
  ///
  /// Counting begins anew.
  public var faults: FaultPlan {
    get { state.withLock { $0.faults.plan } }
    set { state.withLock { $0.faults.plan = newValue } }
  }

  /// How many operations have been made to fail.
  public var faultCount: Int { state.withLock { $0.faults.struck } }

  /// How many operations of these kinds have reached the disk.
  public func count(of operations: Set<DiskOperation>) -> Int {
    state.withLock { state in
      DiskOperation.allCases.filter(operations.contains)
        .reduce(0) { $0 + state.counts[$1, default: 0] }
    }
  }

  /// Tells `observer` of every operation from now on; nil ends it.
  ///
  /// It may take crash points.
  public func observe(_ observer: Observer?) { state.withLock { $0.observer = observer } }
}
