import BlockTestKit
import Execution
import Primitives
import Qcow2

/// An image and a workload, both small, chosen by a seed: small clusters, so that a few hundred
/// kilobytes need many tables and refcount blocks.
struct CrashScenario {
  let seed: UInt64
  var version = FormatVersion.v3
  var clusterSize = 512
  var refcountBits = 16
  /// The virtual size at first, in bytes.
  var size = 0
  /// The virtual size after growth, half-way.
  var grownSize: Int?
  /// The length of the backing disk.
  private(set) var backingLength: Int?
  /// The backing disk.
  private(set) var backingImage: SparseImage?
  /// Guests that work at once.
  var lanes = 1
  var operationsPerLane = 20
  /// Bytes written and flushed before the crashes begin.
  var prefilledBytes = 0
  /// Bytes behind those, written and flushed first of all once the crashes have begun.
  var appendedBytes = 0
  /// Whether the image is closed and opened again half-way.
  var reopens = false
  /// Whether another backing file is recorded half-way.
  var renames = false
  /// The granularities of the persistent bitmaps, in bytes.
  var granularities: [Int] = []
  /// Whether guests write whole clusters compressed.
  var compresses = false
  /// Whether snapshots are made, applied and deleted.
  var takesSnapshots = false
  /// Whether the first bitmap is removed half-way.
  var removesBitmap = false

  /// A small image of any sort.
  init(seed: UInt64) {
    self.seed = seed
    var random = SeededGenerator(seed: seed, label: "scenario")
    clusterSize = [512, 512, 512, 1024, 4096].randomElement(using: &random) ?? 512
    refcountBits = [1, 16, 64, 64].randomElement(using: &random) ?? 16
    if Int.random(in: 0..<6, using: &random) == 0 {
      version = .v2
      refcountBits = 16
    }
    size = 512 * Int.random(in: 20...160, using: &random)
    if Bool.random(using: &random) { back(by: 512 * Int.random(in: 1...200, using: &random)) }
    if Int.random(in: 0..<3, using: &random) == 0 {
      grownSize = size + 512 * Int.random(in: 1...200, using: &random)
    }
    lanes = [1, 1, 2, 3].randomElement(using: &random) ?? 1
    operationsPerLane = 24 / lanes
    prefilledBytes = Bool.random(using: &random) ? Int.random(in: 0...size, using: &random) : 0
    reopens = Bool.random(using: &random)
    renames = backingLength != nil && Int.random(in: 0..<3, using: &random) == 0
    addBitmaps(&random)
    compresses = Int.random(in: 0..<3, using: &random) == 0
    takesSnapshots = refcountBits > 1 && Int.random(in: 0..<3, using: &random) == 0
    if version == .v2, takesSnapshots { grownSize = nil }
  }

  /// An image whose refcount table, of one cluster, is nearly full: the work makes it grow.
  static func nearlyFullRefcountTable(seed: UInt64) -> CrashScenario {
    var scenario = CrashScenario(seed: seed)
    scenario.version = .v3
    scenario.clusterSize = 512
    scenario.refcountBits = 64  // a block counts 32 KiB, the table 2 MiB
    scenario.size = 3 << 20
    scenario.grownSize = nil
    scenario.prefilledBytes = 1976 << 10
    scenario.compresses = false  // what is filled beforehand would need no room
    scenario.lanes = 1
    scenario.appendedBytes = 64 << 10
    scenario.operationsPerLane = 6
    return scenario
  }

  private mutating func back(by length: Int) {
    backingLength = length
    var image = SparseImage(length: length)
    // A hole in the middle, so that zeros show through too.
    let start = ByteRange(0, length / 2)
    let end = ByteRange(length * 3 / 4, length)
    for range in [start, end] {
      image.write(WritePattern.bytes(range, write: Self.backingWrite), at: range.lower)
    }
    backingImage = image
  }

  private mutating func addBitmaps(_ random: inout SeededGenerator) {
    guard version == .v3, Bool.random(using: &random) else { return }
    granularities = [512 << Int.random(in: 0...3, using: &random)]
    if Bool.random(using: &random) { granularities.append(512) }
    removesBitmap = Int.random(in: 0..<3, using: &random) == 0
    // A write of what is mapped already is the first to reach the disk: before the claim, if the
    // engine errs.
    prefilledBytes = max(prefilledBytes, size * 3 / 4)
  }

  /// The image's options.
  var imageOptions: NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    options.version = version
    options.clusterSize = clusterSize
    options.refcountBits = refcountBits
    if backingLength != nil {
      options.backingFileName = EmbeddedName(bytes: Array(Self.backingName.utf8))
      options.backingFormat = EmbeddedName(bytes: Array("raw".utf8))
    }
    return options
  }

  /// The backing file's name at first.
  static let backingName = "base"
  /// The backing file's name afterwards: longer, so that what follows it in the header moves.
  static let newBackingName = "another-base-" + String(repeating: "x", count: 100)

  /// The number of the write that the backing disk's contents look like.
  private static let backingWrite = 0xb0000
  /// The number of the write that filled the disk beforehand.
  static let prefillWrite = 0xa0000

  /// The largest size that the image has in the run.
  var finalSize: Int { grownSize ?? size }

  /// What the guest sees in the new image, and zeros where it will have grown.
  var initialContents: SparseImage {
    var image = backingImage ?? SparseImage()
    if image.length > size { image.resize(to: size) }
    image.resize(to: finalSize)
    return image
  }

  /// The operations of one guest.
  func operations(lane: Int, part: Int, length: Int) -> OperationSequence {
    var shape = OperationSequence.Shape(length: length, cluster: clusterSize)
    shape.maximumClusters = 4
    return OperationSequence(
      count: operationsPerLane / 2, shape: shape,
      random: SeededGenerator(seed: seed, label: "lane \(lane), part \(part)"),
      firstWrite: 1 + (3 * lane + part) * 1000)
  }
}

extension CrashScenario: CustomStringConvertible {
  var description: String {
    "seed \(seed): \(version), clusters of \(clusterSize), refcounts of \(refcountBits) bits, "
      + "\(size) bytes" + (grownSize.map { " growing to \($0)" } ?? "")
      + (backingLength.map { ", backing of \($0)" } ?? "") + (renames ? " (renamed)" : "")
      + (prefilledBytes > 0 ? ", \(prefilledBytes) written before" : "")
      + (granularities.isEmpty ? "" : ", bitmaps \(granularities)")
      + (removesBitmap ? " (the first removed)" : "")
      + (compresses ? ", compressed writes" : "") + (takesSnapshots ? ", snapshots" : "")
      + ", \(lanes) guests" + (reopens ? ", reopened half-way" : "")
  }
}
