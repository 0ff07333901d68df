/// Commands that happen all at one moment, or not at all.
///
/// Source: QMP's `transaction`.
public struct Transaction: Sendable {
  /// A bitmap to merge from.
  ///
  /// Source: the QMP schema's `BlockDirtyBitmapOrStr`.
  public struct BitmapSource: Sendable, ExpressibleByStringLiteral {
    /// The node that has it; nil for the target's own.
    public var node: BackupSpec.Place?
    /// Its name.
    public var name: String

    /// The bitmap `name` of `node`, or of the target's node.
    public init(_ name: String, on node: BackupSpec.Place? = nil) {
      self.node = node
      self.name = name
    }

    /// A bitmap of the target's node.
    public init(stringLiteral name: String) { self.init(name) }
  }

  /// One of the commands.
  ///
  /// Source: the QMP schema's `TransactionAction`.
  public enum Action: Sendable {
    /// Adds a bitmap: QMP's `block-dirty-bitmap-add`.
    case addBitmap(
      node: BackupSpec.Place, name: String, granularity: Int? = nil, persistent: Bool = false,
      disabled: Bool = false)
    /// Clears all bits: QMP's `block-dirty-bitmap-clear`.
    case clearBitmap(node: BackupSpec.Place, name: String)
    /// Lets writes be recorded: QMP's `block-dirty-bitmap-enable`.
    case enableBitmap(node: BackupSpec.Place, name: String)
    /// Lets writes pass unrecorded: QMP's `block-dirty-bitmap-disable`.
    case disableBitmap(node: BackupSpec.Place, name: String)
    /// Sets every bit that one of the sources has set: QMP's `block-dirty-bitmap-merge`.
    case mergeBitmaps(node: BackupSpec.Place, target: String, sources: [BitmapSource])
    /// Removes a bitmap, from the image too: QMP's `block-dirty-bitmap-remove`.
    case removeBitmap(node: BackupSpec.Place, name: String)
    /// Starts a backup to a node: QMP's `blockdev-backup`.
    case backup(BackupSpec)
    /// Starts a backup to a file: QMP's `drive-backup`.
    case driveBackup(DriveBackupSpec)
    /// Fails, so that nothing happens: QMP's `abort`.
    case abort
  }

  /// What the jobs of a transaction are to each other.
  ///
  /// Source: the QMP schema's `ActionCompletionMode`; raw values are its names.
  public enum CompletionMode: String, Sendable, CaseIterable {
    /// Each one ends for itself.
    case individual
    /// All succeed, or none does.
    case grouped
  }
}

extension JobRegistry {
  /// Makes all `actions` happen at one moment, or none.
  ///
  /// No guest's request, and none of a job, falls between two of them. Answers the jobs, started,
  /// in the order of their actions. Throws the first failure, with everything as it was.
  ///
  /// Source: QMP's `transaction`, whose error texts these are.
  @discardableResult
  public func transaction(
    _ actions: [Transaction.Action], completion: Transaction.CompletionMode = .individual
  ) async throws(JobError) -> [Job] {
    if actions.isEmpty { return [] }
    throw JobError(.invalidArgument, "transactions are not built yet")
  }

  /// Makes or opens the target, makes the backup's moment, and starts the copying.
  ///
  /// Source: QMP's `drive-backup`, whose error texts these are.
  public func driveBackup(_ spec: DriveBackupSpec) async throws(JobError) -> Job {
    throw JobError(.invalidArgument, "drive-backup is not built yet")
  }
}
