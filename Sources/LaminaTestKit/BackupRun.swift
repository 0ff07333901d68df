public import Lamina

/// What a backup of a lab's disk did.
public struct BackupRun: Sendable {
  /// The job, which has ended.
  public let job: Job
  /// How it ended.
  public let result: JobResult
  /// The job's own events, in order.
  public let events: [JobEvent]
  /// The name of the target's image, which is there if the job succeeded.
  public let target: String
  /// The moments of the disk at which the job may have begun; none if it failed.
  public let moments: [Int]
  /// The bytes that the job had to copy, from the model of the disk: `len` of its last event.
  ///
  /// Any number if it failed.
  public let work: EventField
}

extension LabDisk {
  /// Makes a full backup, which series of increments stand on, and checks it.
  ///
  /// Its image is NAME.full.qcow2, and replaces that of the last full backup.
  public func backup(clusterSize: Int = 65536) async throws -> BackupRun {
    try await prepareBackup(clusterSize: clusterSize).run()
  }

  /// Makes the image of a full backup, and what a job or a transaction needs to fill it.
  public func prepareBackup(clusterSize: Int = 65536) async throws -> PreparedBackup {
    let target = name + ".full.qcow2"
    try lab.images.remove(target)
    return try await PreparedBackup(
      .init(target: target, clusterSize: clusterSize, isAnchor: true), of: self)
  }
}

extension JobEvent {
  /// The name of the job that the event is about.
  public var device: String {
    switch self {
    case .statusChanged(let id, _), .pending(_, let id): id
    case .completed(let end, _), .cancelled(let end): end.device
    case .failed(let device, _, _): device
    }
  }
}
