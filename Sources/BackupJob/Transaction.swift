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

extension Transaction.Action {
  /// The name in the QMP schema's `TransactionActionKind`.
  public var name: String {
    switch self {
    case .addBitmap: "block-dirty-bitmap-add"
    case .clearBitmap: "block-dirty-bitmap-clear"
    case .enableBitmap: "block-dirty-bitmap-enable"
    case .disableBitmap: "block-dirty-bitmap-disable"
    case .mergeBitmaps: "block-dirty-bitmap-merge"
    case .removeBitmap: "block-dirty-bitmap-remove"
    case .backup: "blockdev-backup"
    case .driveBackup: "drive-backup"
    case .abort: "abort"
    }
  }

  /// Whether it has something that could end with others.
  var canBeGrouped: Bool {
    switch self {
    case .backup, .driveBackup, .abort: true
    default: false
    }
  }

  /// The nodes whose requests must not fall between the actions, as far as their names say them.
  var places: [BackupSpec.Place] {
    switch self {
    case .addBitmap(let node, _, _, _, _), .clearBitmap(let node, _), .enableBitmap(let node, _),
      .disableBitmap(let node, _), .removeBitmap(let node, _):
      [node]
    case .mergeBitmaps(let node, _, let sources): [node] + sources.compactMap(\.node)
    case .backup(let spec): [spec.source, spec.target]
    case .driveBackup(let spec): [spec.source]
    case .abort: []
    }
  }
}
