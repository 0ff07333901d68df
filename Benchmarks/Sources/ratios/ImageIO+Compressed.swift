internal import BlockLayer
internal import Lamina
internal import Primitives

/// An image whose clusters are all compressed, and the same streams in memory.
final class CompressedImage: Sendable {
  static let count = 512
  let graph: BlockGraph
  let disk: BlockBackend
  let streams = DeflateStreams(count: count)

  init(_ graph: BlockGraph, _ path: String) async throws {
    self.graph = graph
    try await graph.createQcow2(at: path, size: Self.count * DeflateStreams.clusterSize)
    disk = try await graph.openDisk(path)
    for index in 0..<Self.count {
      let cluster = DeflateStreams.cluster(index)
      try await disk.writeCompressed(Self.range(index), from: cluster.span.bytes)
    }
  }

  static func range(_ index: Int) -> ByteRange {
    ByteRange(offset: index * DeflateStreams.clusterSize, count: DeflateStreams.clusterSize)
  }

  /// Reads the clusters of `indices`, whole, one after the other.
  func read(_ indices: Range<Int>) async throws {
    let buffer = RequestBuffer(DeflateStreams.clusterSize)
    for index in indices {
      try await ImageIO.read(disk, Self.range(index).lower, buffer)
    }
  }
}

extension ImageIO {
  /// Compressed clusters, read whole, beside zlib that has the streams in memory.
  func inflatingRow(_ image: CompressedImage, _ measurement: Measurement) async throws -> Row {
    let all = 0..<CompressedImage.count
    let contest = Contest(
      operation: "read compressed", subject: "64 KiB, deflate", unit: "cluster",
      unitCount: all.count,
      contenders: [
        Contender(requests: Contender.ours) { try await image.read(all) },
        Contender("zlib") { image.streams.inflate(all) },
      ],
      yardstick: "zlib", bar: .timesYardstick(1 / 0.95))
    return try await contest.row(suite: ImageIO.suite, measurement)
  }

  /// How much faster two tasks read them than one, beside what two threads of zlib gain.
  func inflatingScalingRow(_ image: CompressedImage, rounds: Int) async throws -> Row {
    let all = 0..<CompressedImage.count
    let halves = [0..<all.count / 2, all.count / 2..<all.count]
    let streams = image.streams
    return try await scalingRow(
      "read compressed", unit: "cluster", unitCount: all.count, yardstick: "zlib", floor: 0.9,
      rounds: rounds, ours: { try await image.read(all) },
      oursInTwo: { try await ImageIO.inTwo(halves) { try await image.read($0) } },
      theirs: { streams.inflate(all) },
      theirsInTwo: { try await ImageIO.inTwo(halves) { streams.inflate($0) } })
  }
}
