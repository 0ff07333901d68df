public import Primitives

/// A run of clusters that one copier has claimed; nobody else copies them.
///
/// `CopyEngine` gives it out and takes it back; its range may grow or shrink meanwhile.
public struct CopyTask: Sendable {
  let number: UInt64
  /// The bytes that were claimed: whole clusters, the last one clipped to the disk's end.
  public let range: ByteRange
}

/// What is there to do for a copier that asks.
public enum CopyClaim: Sendable {
  /// This; pass it to `CopyEngine.copy(_:through:zeroLimit:)`.
  case task(CopyTask)
  /// Nothing for the moment, but others are copying and may fail: wait with
  /// `CopyEngine.waitForChange(after:)`, then ask again.
  case busy(UInt64)
  /// Nothing, and nothing can come any more.
  case done
}

/// The failure of one request of the copy engine.
public struct CopyFailure: Error, Sendable {
  /// Which side failed.
  ///
  /// Raw values are the names of the QMP schema's `IoOperationType`.
  public enum Operation: String, Sendable {
    /// The source could not be read.
    case read
    /// The target could not be written.
    case write
  }

  /// Which side failed.
  public let operation: Operation
  /// What it said.
  public let error: BlockError

  /// Makes a failure.
  public init(_ operation: Operation, _ error: BlockError) {
    self.operation = operation
    self.error = error
  }
}

/// How far a copy is, in bytes: whole clusters, so that it can exceed the disk's length.
public struct CopyProgress: Equatable, Sendable {
  /// What was copied, for guests that overwrote it too.
  public var completed: Int
  /// What is still to be copied, what is being copied at the moment included.
  public var remaining: Int

  /// Makes a progress.
  public init(completed: Int, remaining: Int) {
    self.completed = completed
    self.remaining = remaining
  }

  /// Both together; `Int.max` where that is beyond it.
  public var total: Int { completed.addingSaturated(remaining) }
}

extension Int {
  /// The sum of two non-negative numbers, or `Int.max`.
  func addingSaturated(_ other: Int) -> Int {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? .max : sum
  }
}
