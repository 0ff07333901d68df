internal import BlockLayer

/// What a job does about a request of its own that failed.
///
/// Requests made for guests follow the filter's policy instead: the guest's write fails.
///
/// Source: the QMP schema's `BlockdevOnError`; so far its default.
public enum ErrorPolicy: String, Sendable {
  /// The job fails.
  case report

  /// What to do about `error`.
  func action(for error: BlockError) -> ErrorAction {
    switch self {
    case .report: .report
    }
  }
}

/// What was done about a request that failed.
///
/// Source: the QMP schema's `BlockErrorAction`.
enum ErrorAction: String, Sendable {
  /// The job fails.
  case report
}
