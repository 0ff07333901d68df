/// How far a job is, in bytes of work: a backup counts whole copy clusters, so that both numbers
/// can exceed the disk's length.
///
/// Source: `len` and `offset` of the QMP schema's `BlockJobInfo`.
public struct JobProgress: Equatable, Sendable {
  /// The work done.
  public var current: Int
  /// The work done and to be done; it can grow and shrink.
  public var total: Int

  /// Makes a progress.
  public init(current: Int, total: Int) {
    self.current = current
    self.total = total
  }

  /// The work to be done.
  public var remaining: Int { total - current }
  /// Whether nothing is left to be done.
  public var isCompleted: Bool { current == total }
}
