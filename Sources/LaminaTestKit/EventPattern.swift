internal import BackupJob

/// One event that a script expects, with what its fields may be.
public struct EventPattern: Sendable, CustomStringConvertible {
  enum Kind: Sendable {
    case status(String, JobStatus)
    case completed(String, len: EventField, offset: EventField, speed: EventField, error: String?)
    case cancelled(String, len: EventField, offset: EventField, speed: EventField)
    case pending(String)
    case failed(String, operation: String, action: String)
  }

  let kind: Kind
  /// Whether the event may be missing.
  var isOptional = false

  init(_ kind: Kind) { self.kind = kind }

  /// The same event, which may also be missing.
  public var orNothing: EventPattern {
    var pattern = self
    pattern.isOptional = true
    return pattern
  }

  func matches(_ event: JobEvent) -> Bool {
    switch (kind, event) {
    case (.status(let id, let status), .statusChanged(let found, let foundStatus)):
      id == found && status == foundStatus
    case (
      .completed(let device, let len, let offset, let speed, let error),
      .completed(let end, let foundError)
    ):
      end.isBackup(device, len, offset, speed) && error == foundError
    case (.cancelled(let device, let len, let offset, let speed), .cancelled(let end)):
      end.isBackup(device, len, offset, speed)
    case (.pending(let id), .pending(let type, let found)): type == "backup" && id == found
    case (
      .failed(let device, let operation, let action),
      .failed(let found, let foundOperation, let foundAction)
    ):
      device == found && operation == foundOperation && action == foundAction
    default: false
    }
  }

  /// The event in QMP's words, on one line.
  public var description: String {
    let text =
      switch kind {
      case .status(let id, let status): "JOB_STATUS_CHANGE \(id) \(status.rawValue)"
      case .completed(let device, let len, let offset, let speed, let error):
        "BLOCK_JOB_COMPLETED \(device) len=\(len) offset=\(offset) speed=\(speed)"
          + (error.map { " error=\"\($0)\"" } ?? "")
      case .cancelled(let device, let len, let offset, let speed):
        "BLOCK_JOB_CANCELLED \(device) len=\(len) offset=\(offset) speed=\(speed)"
      case .pending(let id): "BLOCK_JOB_PENDING \(id)"
      case .failed(let device, let operation, let action):
        "BLOCK_JOB_ERROR \(device) \(operation) \(action)"
      }
    return isOptional ? text + " (or nothing)" : text
  }
}

extension JobEnd {
  fileprivate func isBackup(
    _ device: String, _ len: EventField, _ offset: EventField, _ speed: EventField
  ) -> Bool {
    type == "backup" && self.device == device && len.allows(self.len)
      && offset.allows(self.offset) && speed.allows(self.speed)
  }
}

extension JobEvent {
  /// The event in QMP's words, on one line.
  var line: String {
    let pattern: EventPattern =
      switch self {
      case .statusChanged(let id, let status): .init(.status(id, status))
      case .completed(let end, let error):
        .init(
          .completed(
            end.device, len: .exactly(end.len), offset: .exactly(end.offset),
            speed: .exactly(end.speed), error: error))
      case .cancelled(let end):
        .init(
          .cancelled(
            end.device, len: .exactly(end.len), offset: .exactly(end.offset),
            speed: .exactly(end.speed)))
      case .pending(_, let id): .init(.pending(id))
      case .failed(let device, let operation, let action):
        .init(.failed(device, operation: operation, action: action))
      }
    return pattern.description
  }
}
