/// What a query tells of a bitmap.
///
/// Source: the QMP schema's `BlockDirtyInfo`; `status` is what versions up to 5.2 had.
public struct BitmapInfo: Hashable, Sendable {
  /// The state in one word, as old clients read it.
  public enum Status: String, Sendable {
    /// It records.
    case active
    /// It does not record.
    case disabled
    /// A job works from it; a successor records.
    case frozen
    /// Something else uses it.
    case locked
    /// Its bits are lost.
    case inconsistent
  }

  /// The name; nil for what a job keeps for itself.
  public let name: String?
  /// The number of set bits times the granularity, in bytes.
  public let count: Int
  /// The bytes that a bit stands for.
  public let granularity: Int
  /// Whether writes leave a trace, in it or in its successor.
  public let isRecording: Bool
  /// Whether a job or an export uses it.
  public let isBusy: Bool
  /// Whether it is stored in the image.
  public let isPersistent: Bool
  /// Whether its bits are lost.
  public let isInconsistent: Bool
  let hasSuccessor: Bool

  /// The state in one word.
  public var status: Status {
    if isInconsistent { return .inconsistent }
    if hasSuccessor { return .frozen }
    if isBusy { return .locked }
    return isRecording ? .active : .disabled
  }
}
