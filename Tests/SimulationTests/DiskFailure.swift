import BlockTestKit
import SystemPackage

/// How an operation of a disk fails.
enum DiskFailure: String, CaseIterable, Sendable {
  case onceWithEIO, forEverWithEIO, onceWithENOSPC, forEverWithENOSPC, shortWrite, failedSync

  /// The plan in which the `nth` operation from now on fails so.
  func plan(nth: Int) -> FaultPlan {
    switch self {
    case .onceWithEIO: .failing(.everything, nth: nth)
    case .forEverWithEIO: .failing(.everything, nth: nth, times: .max)
    case .onceWithENOSPC: .failing([.write, .writeZeroes, .resize], nth: nth, errno: .noSpace)
    case .forEverWithENOSPC:
      .failing([.write, .writeZeroes, .resize], nth: nth, times: .max, errno: .noSpace)
    case .shortWrite: FaultPlan([.init([.write], nth: nth, writtenBytes: 512)])
    case .failedSync: .failing([.sync], nth: nth)
    }
  }
}
