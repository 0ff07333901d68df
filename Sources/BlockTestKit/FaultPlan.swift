public import Primitives
public import SystemPackage

/// What a simulated disk is asked to do.
public enum DiskOperation: String, Sendable, CaseIterable {
  case read
  case write
  case writeZeroes
  case discard
  case resize
  case sync
}

extension Set where Element == DiskOperation {
  /// Every operation.
  public static var everything: Set { Set(DiskOperation.allCases) }
  /// The operations that change the disk, and the one that makes changes durable.
  public static var changes: Set { everything.subtracting([.read]) }
}

/// What goes wrong with a simulated disk, and how long its operations take.
///
/// Counting is deterministic: operations count in the order in which they reach the disk.
public struct FaultPlan: Sendable {
  /// One thing that goes wrong.
  public struct Fault: Sendable {
    /// The operations that count and fail.
    public var operations: Set<DiskOperation>
    /// Only operations that touch a byte of this range count; nil for all.
    ///
    /// A sync touches every byte.
    public var range: ByteRange?
    /// The first one that fails: 1 is the first that counts.
    public var nth: Int
    /// How many fail from there on; `Int.max` for ever.
    public var times: Int
    /// How they fail.
    public var errno: Errno
    /// How many bytes of a failing write are written first: a short write; whole sectors only.
    public var writtenBytes: Int

    /// Makes a fault.
    public init(
      _ operations: Set<DiskOperation>, in range: ByteRange? = nil, nth: Int = 1, times: Int = 1,
      errno: Errno = .ioError, writtenBytes: Int = 0
    ) {
      precondition(nth >= 1 && times >= 1 && writtenBytes >= 0, "a fault happens at least once")
      self.operations = operations
      self.range = range
      self.nth = nth
      self.times = times
      self.errno = errno
      self.writtenBytes = writtenBytes
    }

    func concerns(_ operation: DiskOperation, _ range: ByteRange) -> Bool {
      guard operations.contains(operation) else { return false }
      guard let mine = self.range, operation != .sync else { return true }
      return mine.overlaps(range)
    }

    /// Whether the operation that counts as number `count` (1 is the first) fails.
    func strikes(at count: Int) -> Bool { count >= nth && count - nth < times }
  }

  /// The virtual time, in nanoseconds, that one operation takes: drawn from the range by the
  /// World's seed.
  public struct Latency: Sendable {
    private var ranges: [DiskOperation: ClosedRange<UInt64>] = [:]

    /// The same range for all operations.
    public init(nanoseconds: ClosedRange<UInt64>) {
      for operation in DiskOperation.allCases { ranges[operation] = nanoseconds }
    }

    /// The range of one operation.
    public subscript(operation: DiskOperation) -> ClosedRange<UInt64> {
      get { ranges[operation] ?? 0...0 }
      set { ranges[operation] = newValue }
    }
  }

  /// What goes wrong.
  ///
  /// Where several strike at once, the first in this list decides.
  public var faults: [Fault]
  /// The space of the disk in bytes, counted in whole blocks of `SparseImage.blockSize`: a write
  /// that needs more fails with ENOSPC after the part that fits.
  public var capacity: Int?
  /// How long operations take; nil for no time, only scheduling points.
  public var latency: Latency?

  /// A plan.
  public init(_ faults: [Fault] = [], capacity: Int? = nil, latency: Latency? = nil) {
    self.faults = faults
    self.capacity = capacity
    self.latency = latency
  }

  /// Nothing goes wrong.
  public static let none = FaultPlan()

  /// The `nth` of `operations` fails, and `times - 1` after it.
  public static func failing(
    _ operations: Set<DiskOperation>, nth: Int, times: Int = 1, errno: Errno = .ioError
  ) -> FaultPlan {
    FaultPlan([Fault(operations, nth: nth, times: times, errno: errno)])
  }
}

/// How often each fault of a plan has been asked about.
struct FaultCounters: Sendable {
  var plan: FaultPlan {
    didSet { counts = plan.faults.map { _ in 0 } }
  }
  private var counts: [Int]
  /// How many operations have failed.
  private(set) var struck = 0

  init(_ plan: FaultPlan) {
    self.plan = plan
    counts = plan.faults.map { _ in 0 }
  }

  /// Counts an operation; gives the fault that strikes it, if one does.
  mutating func count(_ operation: DiskOperation, _ range: ByteRange) -> FaultPlan.Fault? {
    var striking: FaultPlan.Fault?
    for (index, fault) in plan.faults.enumerated() where fault.concerns(operation, range) {
      counts[index] += 1
      if striking == nil, fault.strikes(at: counts[index]) { striking = fault }
    }
    if striking != nil { struck += 1 }
    return striking
  }

  /// Counts a write that found no space.
  mutating func countFull() { struck += 1 }
}
