import BlockTestKit
import Primitives

/// One thing that is done to a small image: the alphabet of the exhaustive workloads.
///
/// Guest clusters have parts to play, see `WorkloadSetting`.
enum WorkloadStep: String, CaseIterable, Sendable {
  case writeEmpty, writePart, writeCrossing, writeFar
  case overwriteOwn, overwriteShared, overwriteCompressed
  case zeroPart, zeroKeeping, zeroUnmapping, discardOwn, discardCompressed
  case compressEmpty, compressOver
  case flush
  case createSnapshot, applySnapshot, deleteSnapshot
  case grow, shrink
  case addBitmap, clearBitmap, removeBitmap
  case reopen
  case renameBacking, makeEmpty, amendRefcounts

  /// The guest's request, if the step is one; `number` tells writes apart.
  func request(_ setting: WorkloadSetting, number: Int) -> GuestOperation? {
    let cluster = setting.clusterSize
    func at(_ index: Int, _ lower: Int = 0, _ count: Int? = nil) -> ByteRange {
      ByteRange(offset: index * cluster + lower, count: count ?? cluster)
    }
    return switch self {
    case .writeEmpty: .write(at(6), number: number)
    case .writePart: .write(at(7, 100, 300), number: number)
    case .writeCrossing: .write(at(6, cluster / 2), number: number)
    case .writeFar: .write(at(setting.clusters - 2), number: number)
    case .overwriteOwn: .write(at(3), number: number)
    case .overwriteShared: .write(at(4, cluster / 4, cluster / 2), number: number)
    case .overwriteCompressed: .write(at(5, 0, 256), number: number)
    case .zeroPart: .writeZeroes(at(3, cluster / 2), mayUnmap: false)
    case .zeroKeeping: .writeZeroes(at(3), mayUnmap: false)
    case .zeroUnmapping: .writeZeroes(at(4), mayUnmap: true)
    case .discardOwn: .discard(at(3))
    case .discardCompressed: .discard(at(5))
    case .flush: .flush
    default: nil
    }
  }

  /// The clusters that are written compressed, if any are.
  func compressedRange(_ setting: WorkloadSetting) -> ByteRange? {
    let cluster = setting.clusterSize
    return switch self {
    case .compressEmpty: ByteRange(offset: 6 * cluster, count: 2 * cluster)
    case .compressOver: ByteRange(offset: 3 * cluster, count: cluster)
    default: nil
    }
  }
}

/// A sort of image for the exhaustive workloads, as small as it can be.
///
/// Before a workload its clusters are: 0–2 empty, 3 written and its own, 4 shared with the snapshot
/// "before", 5 compressed, 6 and 7 empty; there is a persistent bitmap, "old". Small clusters need
/// a second L2 table for the last ones, and a second refcount block soon.
struct WorkloadSetting: Sendable, CustomStringConvertible {
  let description: String
  var version = FormatVersionName.v3
  var clusterSize = 512
  var refcountBits = 16
  var hasExtendedL2 = false
  var hasBacking = false
  var clusters = 72

  /// The two versions of the format.
  enum FormatVersionName { case v2, v3 }

  /// Whether refcounts can say that a cluster is shared.
  var hasSharing: Bool { refcountBits > 1 }

  static let all: [WorkloadSetting] = {
    var plain = WorkloadSetting(description: "plain")
    plain.refcountBits = 16
    var overlay = WorkloadSetting(description: "overlay, 64-bit refcounts")
    overlay.refcountBits = 64
    overlay.hasBacking = true
    var narrow = WorkloadSetting(description: "overlay, 1-bit refcounts")
    narrow.refcountBits = 1
    narrow.hasBacking = true
    var old = WorkloadSetting(description: "version 2")
    old.version = .v2
    var extended = WorkloadSetting(description: "extended L2, overlay")
    extended.hasExtendedL2 = true
    extended.hasBacking = true
    extended.clusterSize = 16384
    extended.clusters = 10
    return [plain, overlay, narrow, old, extended]
  }()
}
