import Primitives
import Qcow2

extension FuzzTarget {
  /// The first cluster of an image: parsed, written, parsed again, rewritten.
  static let header = FuzzTarget(
    name: "header", summary: "header, extensions, names; what is parsed can be written",
    seeds: { SmallImage.all.map { Array($0.contents.prefix(1024)) } }
  ) { bytes in
    for purpose in [OpenPurpose.readWrite, .readOnly, .check] {
      guard let cluster = try? HeaderCluster.parse(bytes.span.bytes, for: purpose) else { continue }
      let header = cluster.header
      require(header.virtualSize >= 0 && header.virtualSize % 512 == 0, "a size of no disk")
      require(header.l1TableRange != nil && header.refcountTableRange != nil, "a table too far")
      _ = cluster.regionDefects(fileByteCount: bytes.count)
      _ = cluster.unsupportedFeatures(for: purpose)
      // Large clusters cost a millisecond each and say nothing new.
      if header.clusterSize <= 4096 { checkRoundTrip(cluster, bytes) }
    }
  }

  private static func checkRoundTrip(_ cluster: HeaderCluster, _ bytes: [UInt8]) {
    guard let written = try? cluster.serialize() else { return }
    guard let again = try? HeaderCluster.parse(written.span.bytes, for: .check) else {
      fatalError("what was written cannot be read")
    }
    require(again.essence == cluster.essence, "what was written reads differently")
    let size = cluster.header.clusterSize
    let old = Array(bytes.prefix(size)) + Array(repeating: 0, count: max(0, size - bytes.count))
    guard let plan = try? cluster.rewrite(replacing: old.span.bytes) else { return }
    var new = old
    for step in plan.steps {
      require(step.offset.value + step.bytes.count <= size, "a step behind the first cluster")
      let place = step.offset.value..<step.offset.value + step.bytes.count
      new.replaceSubrange(place, with: step.bytes)
    }
    guard let replaced = try? HeaderCluster.parse(new.span.bytes, for: .check) else {
      fatalError("what was rewritten cannot be read")
    }
    require(replaced.essence == cluster.essence, "what was rewritten reads differently")
  }
}

extension HeaderCluster {
  /// What a rewrite keeps: not the feature names, for which there may be no room, and the unknown
  /// tail without its padding.
  fileprivate var essence: HeaderCluster {
    var kept = self
    kept.extensions.featureNames = []
    kept.extensions.bitmapsDefect = nil
    while kept.header.unknownTail.last == 0 { kept.header.unknownTail.removeLast() }
    return kept
  }
}
