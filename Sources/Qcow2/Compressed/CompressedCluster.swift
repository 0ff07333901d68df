internal import BlockLayer
internal import Primitives

/// What a cluster is stored as by a compressed write.
enum CompressedCluster: Sendable {
  /// As zeros: it has no other bytes.
  case zeros
  /// As this stream.
  case stream([UInt8])
  /// As it is: it does not become smaller.
  case plain
}

extension ClusterCodec {
  /// Compresses a cluster, or the beginning of the disk's last one: the rest counts as zeros.
  func compressed(_ bytes: RawSpan) throws(BlockError) -> CompressedCluster {
    if bytes.isZero { return .zeros }
    var buffer = IOBuffer(byteCount: longestStream)
    var stream = buffer.mutableBytes
    let count: Int?
    if bytes.byteCount == clusterSize {
      count = try compress(bytes, into: &stream)
    } else {
      var padded = IOBuffer(byteCount: clusterSize, zeroed: true)
      var cluster = padded.mutableBytes
      cluster.copy(from: bytes)
      count = try compress(cluster.bytes, into: &stream)
    }
    guard let count else { return .plain }
    return .stream(stream.bytes.slice(ByteRange(0, count)).toArray())
  }

  /// Compresses the clusters that `bytes` are made of, on all of the World's processors.
  func compressedClusters(_ bytes: RawSpan) async throws(BlockError) -> [CompressedCluster] {
    if bytes.byteCount <= clusterSize { return [try compressed(bytes)] }
    // Child tasks cannot borrow a caller's memory.
    var clusters: [[UInt8]] = []
    var position = 0
    while position < bytes.byteCount {
      let end = min(position + clusterSize, bytes.byteCount)
      clusters.append(bytes.slice(ByteRange(position, end)).toArray())
      position = end
    }
    let results = await withTaskGroup(of: (index: Int, result: CompressionResult).self) { group in
      for (index, cluster) in clusters.enumerated() {
        group.addTask { (index, self.result(cluster)) }
      }
      var results = [CompressionResult](repeating: .success(.plain), count: clusters.count)
      for await (index, result) in group { results[index] = result }
      return results
    }
    var compressed: [CompressedCluster] = []
    for result in results { compressed.append(try result.get()) }
    return compressed
  }

  private typealias CompressionResult = Result<CompressedCluster, BlockError>

  private func result(_ cluster: [UInt8]) -> CompressionResult {
    do throws(BlockError) {
      return .success(try compressed(cluster.span.bytes))
    } catch {
      return .failure(error)
    }
  }
}
