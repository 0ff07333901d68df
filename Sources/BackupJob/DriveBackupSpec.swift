public import SystemPackage

/// What a backup job is to do whose target is a host file: plain values, checked when the job is
/// prepared.
///
/// Source: QMP's `drive-backup`, whose arguments and defaults these are.
public struct DriveBackupSpec: Sendable {
  /// What becomes of the file.
  ///
  /// Source: the QMP schema's `NewImageMode`; raw values are its names.
  public enum Mode: String, Sendable, CaseIterable {
    /// It is made, with the source's length; one that is there is overwritten.
    case absolutePaths = "absolute-paths"
    /// It is there, and has the source's length.
    case existing
  }

  /// The job's name; the source device's if it is nil.
  public var jobID: String?
  /// The disk to copy.
  public var source: BackupSpec.Place
  /// The file to copy to.
  public var target: FilePath
  /// The file's format.
  ///
  /// Nil for the source's, or, of a file that is there, for what the graph's policy says of files
  /// whose format nobody states.
  public var format: String?
  /// What becomes of the file.
  public var mode: Mode
  /// Which parts.
  public var sync: BackupSpec.Sync
  /// The name of a dirty bitmap of the source.
  public var bitmap: String?
  /// What becomes of the bitmap.
  public var bitmapMode: BackupSpec.BitmapMode?
  /// The most bytes a second that the job copies by itself; 0 for no limit.
  public var speed = 0
  /// How many workers copy at once.
  public var maxWorkers = 16
  /// The longest run that a worker copies at once, in bytes; 0 for the engine's own.
  public var maxChunk = 0
  /// Whether data is written compressed; the target's format must be able to.
  public var compresses = false
  /// Whether the job goes on by itself from `pending`.
  public var autoFinalize = true
  /// Whether the job forgets itself once it is concluded.
  public var autoDismiss = true
  /// The name of the filter above the source; generated if it is nil.
  public var filterNodeName: String?
  /// What happens when the source cannot be read.
  public var onSourceError = ErrorPolicy.report
  /// What happens when the target cannot be written.
  public var onTargetError = ErrorPolicy.report

  /// A backup of `source` to the file `target` with the defaults of QMP.
  public init(
    source: BackupSpec.Place, target: FilePath, sync: BackupSpec.Sync, format: String? = nil,
    mode: Mode = .absolutePaths, bitmap: String? = nil,
    bitmapMode: BackupSpec.BitmapMode? = nil, jobID: String? = nil
  ) {
    self.source = source
    self.target = target
    self.sync = sync
    self.format = format
    self.mode = mode
    self.bitmap = bitmap
    self.bitmapMode = bitmapMode
    self.jobID = jobID
  }
}
