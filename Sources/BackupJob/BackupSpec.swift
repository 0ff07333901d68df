public import BlockLayer

/// What a backup job is to do: plain values, checked when the job is prepared.
///
/// Source: QMP's `blockdev-backup`, whose arguments and defaults these are.
public struct BackupSpec: Sendable {
  /// A node, or the name of a device or a node.
  public enum Place: Sendable, ExpressibleByStringLiteral {
    /// The node at which the device of that name begins, or else the node of that name.
    case named(String)
    /// This node.
    case node(BlockNode)

    /// A name.
    public init(stringLiteral name: String) { self = .named(name) }
  }

  /// Which parts of the disk are copied.
  ///
  /// Source: the QMP schema's `MirrorSyncMode`; raw values are its names.
  public enum Sync: String, Sendable, CaseIterable {
    /// Everything.
    case full
    /// What the top layer of the chain has.
    case top
    /// Nothing but what guests overwrite, for as long as the job is let run.
    case none
    /// What is dirty in a bitmap, which starts anew if the job succeeds.
    case incremental
    /// What is dirty in a bitmap, which becomes what `bitmapMode` says.
    case bitmap
  }

  /// What becomes of the bitmap.
  ///
  /// Source: the QMP schema's `BitmapSyncMode`; raw values are its names.
  public enum BitmapMode: String, Sendable, CaseIterable {
    /// It starts anew if the job succeeds.
    case onSuccess = "on-success"
    /// It keeps what it has.
    case never
    /// It has what the job has not copied.
    case always
  }

  /// The job's name; the source device's if it is nil.
  public var jobID: String?
  /// The disk to copy.
  public var source: Place
  /// The node to copy to, of the same length.
  public var target: Place
  /// Which parts.
  public var sync: Sync
  /// The name of a dirty bitmap of the source.
  public var bitmap: String?
  /// What becomes of the bitmap.
  public var bitmapMode: BitmapMode?
  /// The most bytes a second that the job copies by itself; 0 for no limit.
  public var speed = 0
  /// How many workers copy at once.
  ///
  /// Fewer than QEMU's 64: each one here has a buffer, and the World's threads do the I/O.
  public var maxWorkers = 16
  /// The longest run that a worker copies at once, in bytes; 0 for the engine's own.
  public var maxChunk = 0
  /// Whether data is written compressed; the target's driver must be able to.
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

  /// A backup of `source` to `target` with the defaults of QMP.
  public init(
    source: Place, target: Place, sync: Sync, bitmap: String? = nil,
    bitmapMode: BitmapMode? = nil, jobID: String? = nil
  ) {
    self.source = source
    self.target = target
    self.sync = sync
    self.bitmap = bitmap
    self.bitmapMode = bitmapMode
    self.jobID = jobID
  }
}
