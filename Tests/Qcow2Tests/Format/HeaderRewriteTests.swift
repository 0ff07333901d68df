import Primitives
import Qcow2
import Testing

/// Replacing the header: a crash leaves the old one or the new one.
@Suite struct HeaderRewriteTests {
  private func parse(_ bytes: [UInt8]) throws -> HeaderCluster {
    try HeaderCluster.parse(bytes.span.bytes, for: .readWrite)
  }

  /// Every state of the cluster that a crash can leave: each step done or not, in order, and the
  /// unfinished step cut at any 512-byte sector.
  private func crashStates(_ old: [UInt8], _ plan: HeaderRewrite) -> [[UInt8]] {
    var states: [[UInt8]] = []
    var durable = old
    for step in plan.steps {
      let sectors = stride(from: 0, to: step.bytes.count, by: 512).map { start in
        (start, Array(step.bytes[start..<min(start + 512, step.bytes.count)]))
      }
      for (start, bytes) in sectors {
        var torn = durable
        torn.replace(at: step.offset.value + start, with: bytes)
        states.append(torn)
      }
      states.append(durable)
      durable.replace(at: step.offset.value, with: step.bytes)
      states.append(durable)
    }
    return states
  }

  private func rewrite(_ cluster: HeaderCluster, over old: [UInt8]) throws -> HeaderRewrite {
    try cluster.rewrite(replacing: old.span.bytes)
  }

  private func withoutFeatureNames(_ cluster: HeaderCluster) -> HeaderCluster {
    var copy = cluster
    copy.extensions.featureNames = []
    return copy
  }

  /// Checks that each crash state reads as the old header or the new one; returns the last.
  private func expectAtomic(
    from old: [UInt8], to new: HeaderCluster, _ comment: Comment
  ) throws -> [UInt8] {
    let before = withoutFeatureNames(try parse(old))
    let after = withoutFeatureNames(new)
    let plan = try new.rewrite(replacing: old.span.bytes)
    #expect(plan.isAtomic, comment)
    let states = crashStates(old, plan)
    for state in states {
      let seen = withoutFeatureNames(try parse(state))
      #expect(seen == before || seen == after, comment)
    }
    let last = try #require(states.last)
    #expect(withoutFeatureNames(try parse(last)) == after, comment)
    return last
  }

  private func change(
    _ cluster: inout HeaderCluster, _ numbers: inout SeededNumbers
  ) {
    switch Int.random(in: 0..<5, using: &numbers) {
    case 0:
      let count = Int.random(in: 1...200, using: &numbers)
      let letter = Character(Unicode.Scalar(UInt8.random(in: 97...122, using: &numbers)))
      cluster.backingFileName = EmbeddedName(String(repeating: letter, count: count))
      cluster.extensions.backingFormat = Bool.random(using: &numbers) ? "raw" : "qcow2"
    case 1:
      cluster.backingFileName = nil
      cluster.extensions.backingFormat = nil
    case 2:
      let offset = HostOffset(Int.random(in: 1...100, using: &numbers) << 16)
      cluster.extensions.bitmaps = BitmapExtension(
        bitmapCount: 1, directoryByteCount: 32, directoryOffset: offset)
      cluster.header.autoclearFeatures = .bitmaps
    case 3:
      cluster.extensions.bitmaps = nil
      cluster.header.autoclearFeatures = []
    default:
      cluster.header.virtualSize = Int.random(in: 1...1000, using: &numbers) << 9
    }
  }

  @Test func aCrashLeavesTheOldHeaderOrTheNewOne() throws {
    let starts = [
      GoldenHeaders.plain, GoldenHeaders.overlay, GoldenHeaders.overlayVersion2,
      GoldenHeaders.bitmaps,
    ]
    for seed in 0..<40 as Range<UInt64> {
      var numbers = SeededNumbers(seed: seed)
      var bytes = starts[Int(seed) % starts.count]
      for round in 0..<6 {
        var cluster = try parse(bytes)
        let isVersion2 = cluster.header.version == .v2
        change(&cluster, &numbers)
        if isVersion2 {
          cluster.header.autoclearFeatures = []
          cluster.extensions.bitmaps = nil
        }
        bytes = try expectAtomic(from: bytes, to: cluster, "seed \(seed), round \(round)")
      }
    }
  }

  @Test func aHeaderWithoutANewNameIsASingleSector() throws {
    var cluster = try parse(GoldenHeaders.bitmaps)
    cluster.header.autoclearFeatures = []
    let plan = try rewrite(cluster, over: GoldenHeaders.bitmaps)
    #expect(plan.steps.map(\.offset) == [.zero])
    #expect(plan.steps.map(\.bytes.count) == [512])
  }

  @Test func aNameBehindTheSectorThatStaysIsNotWrittenAgain() throws {
    let name = String(repeating: "n", count: 40)
    let old = GoldenHeaders.overlay.patched(16, "00000028").patched(0x210, "'\(name)'")
    var cluster = try parse(old)
    cluster.header.virtualSize = 512
    let plan = try rewrite(cluster, over: old)
    #expect(plan.steps.map(\.offset) == [.zero])
    #expect(Array(plan.steps[0].bytes[8..<20]) == hex("00000000 00000210 00000028"))
    // Another name goes behind what the old header uses.
    cluster.backingFileName = EmbeddedName(String(repeating: "m", count: 40))
    #expect(try rewrite(cluster, over: old).steps.map(\.offset) == [HostOffset(0x238), .zero])
  }

  @Test func anUnchangedHeaderKeepsAsManyFeatureNamesAsFit() throws {
    let cluster = try parse(GoldenHeaders.plain)
    let plan = try rewrite(cluster, over: GoldenHeaders.plain)
    #expect(plan.steps[0].bytes == Array(GoldenHeaders.plain.prefix(512)))
  }

  @Test func inSmallClustersAllIsOneSector() throws {
    var cluster = try parse(GoldenHeaders.smallClusters)
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 376))
    cluster.extensions.backingFormat = "raw"
    let plan = try rewrite(cluster, over: GoldenHeaders.smallClusters)
    #expect(plan.isAtomic && plan.steps.count == 1)
    #expect(try parse(plan.steps[0].bytes) == cluster)
    cluster.backingFileName = EmbeddedName(String(repeating: "n", count: 377))
    let error = #expect(throws: Qcow2FormatError.self) {
      try rewrite(cluster, over: GoldenHeaders.smallClusters)
    }
    #expect(error?.code == .noSpace)
  }

  @Test func extensionsBeyondASectorAreWrittenTailFirstAndSaidNotToBeAtomic() throws {
    var cluster = try parse(GoldenHeaders.plain)
    cluster.extensions.unknown = [
      HeaderExtension(type: 0xcafe_0001, body: [UInt8](repeating: 7, count: 500))
    ]
    let plan = try rewrite(cluster, over: GoldenHeaders.plain)
    #expect(!plan.isAtomic)
    #expect(plan.steps.map(\.offset) == [HostOffset(512), .zero])
    var bytes = GoldenHeaders.plain
    for step in plan.steps { bytes.replace(at: step.offset.value, with: step.bytes) }
    #expect(try parse(bytes) == cluster)
  }
}
