/// A moment of a simulated disk, taken down: what is durable, and what may be.
///
/// It is a value that shares its bytes with the disk; enumerate it whenever it suits.
public struct CrashPoint: Sendable {
  /// What is durable.
  public let durable: SparseImage
  /// The operations whose effects a crash may leave, whole or in part, in submission order.
  public let pending: [PendingOperation]

  /// What the disk's readers saw: every pending change made but those that failed.
  public var visible: SparseImage {
    var image = durable
    for operation in pending where operation.progress != .failed {
      for sector in operation.sectors { image.setSector(sector.number, sector.content) }
      if let length = operation.newLength { image.cut(to: length) }
    }
    return image
  }

  /// The states that a crash at this moment could leave, as far as `plan` has them made.
  ///
  /// No state comes twice. The same seed gives the same states in the same order.
  public func states(_ plan: CrashPlan = CrashPlan(), seed: UInt64) -> CrashStates {
    CrashStates(self, plan, seed: seed)
  }
}

/// One state that a crash could leave.
public struct CrashState: Sendable, CustomStringConvertible {
  /// The disk after the crash.
  public let image: SparseImage
  /// `image.signature`: equal for equal images, in every process.
  public let signature: UInt64
  /// How the state came about: which operations are there whole, in part and not at all.
  public let description: String
}
