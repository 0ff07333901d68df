/// The states of a job, and which commands each admits.
///
///     created ──start──▶ running ──settle──▶ waiting ──settle──▶ pending
///        │ │              │ ▲ │                  │                 │  │
///        │ │   pausePoint,│ │ └─────settle───────┤settle     settle│  │conclude
///        │ │   endWork    ▼ │resume, cancel      │                 │  │
///        │ │            paused                   ▼                 │  │
///        │ └──────────cancel──────────────▶ aborting ◀─────────────┘  │
///        │                                       │conclude            ▼
///        │withdraw                               └──────────────▶ concluded
///        ▼                                                            │
///      null ◀─────────────────────────────dismiss, or conclude────────┘
///
/// - `created`: everything is checked, and in place or about to be; nothing runs. A transaction
///   that fails cancels its jobs in this state, and what cannot be put in place is withdrawn.
/// - `running`: the job's work is under way, or waits for its speed limit.
/// - `paused`: a user asked for it and the work has come to rest. Guests' writes go on, and what
///   they overwrite is still saved.
/// - `waiting`: the work is done, and the other members of the job's group are waited for.
/// - `pending`: the whole group is done; the graph and the bitmaps change next, at once or when
///   the user says so (`isAutoFinalizing`).
/// - `aborting`: the work failed or was cancelled, and is being undone.
/// - `concluded`: all is over but for the name, which stays taken, and the result.
/// - `null`: the job is no longer known.
///
/// Source: the QMP schema's `JobStatus` (its `ready` and `standby` belong to mirror jobs).
public enum JobStatus: String, Sendable, CaseIterable {
  case created, running, paused, waiting, pending, aborting, concluded, null

  /// Whether the job admits `verb` in this state.
  public func admits(_ verb: JobVerb) -> Bool {
    switch verb {
    case .cancel: [.created, .running, .paused, .waiting, .pending].contains(self)
    case .pause, .resume, .setSpeed: [.created, .running, .paused].contains(self)
    case .complete: false
    case .finalize: self == .pending
    case .dismiss: self == .concluded
    }
  }

  /// Whether a job may go from this state to `next`.
  func canBecome(_ next: JobStatus) -> Bool {
    switch self {
    case .created: [.running, .aborting, .null].contains(next)
    case .running: [.paused, .waiting, .aborting].contains(next)
    case .paused: next == .running
    case .waiting: [.pending, .aborting].contains(next)
    case .pending: [.concluded, .aborting].contains(next)
    case .aborting: next == .concluded
    case .concluded: next == .null
    case .null: false
    }
  }
}

/// The commands that a job may be given.
///
/// Source: the QMP schema's `JobVerb`; raw values are its names.
public enum JobVerb: String, Sendable, CaseIterable {
  case cancel, pause, resume
  case setSpeed = "set-speed"
  case complete, finalize, dismiss
}
