internal import BlockLayer
internal import Primitives
internal import SystemPackage

/// Turns a cluster into a compressed stream.
protocol ClusterCompressor: AnyObject, Sendable {
  /// Writes the stream of `cluster` to the start of `stream`, and answers its length; nil where
  /// `stream` is too short for it.
  func compress(_ cluster: RawSpan, into stream: inout MutableRawSpan) -> Int?
}

/// Turns a compressed stream into a cluster.
protocol ClusterDecompressor: AnyObject, Sendable {
  /// Fills `cluster` from the stream that begins `stream`; what follows the stream is ignored.
  ///
  /// Never writes outside of `cluster`, nor takes memory that depends on what the stream says.
  func decompress(_ stream: RawSpan, into cluster: inout MutableRawSpan) throws(StreamDefect)
}

/// What is wrong with a compressed stream.
struct StreamDefect: Error {
  let message: String
}

/// Compresses and decompresses the clusters of an image, any number at a time (qcow2
/// specification, "Compressed Clusters Descriptor" and the header's `compression_type`).
final class ClusterCodec: Sendable {
  let compression: CompressionType
  let clusterSize: Int
  private let compressors = ContextPool<any ClusterCompressor>(
    limit: Qcow2Limits.idleCompressionContexts)
  private let decompressors = ContextPool<any ClusterDecompressor>(
    limit: Qcow2Limits.idleCompressionContexts)

  init(_ compression: CompressionType, clusterSize: Int) {
    self.compression = compression
    self.clusterSize = clusterSize
  }

  /// The longest stream that is worth storing: anything longer saves nothing.
  var longestStream: Int { clusterSize - 1 }

  /// Writes the stream of `cluster` to the start of `stream`, which has room for the longest one;
  /// answers its length, or nil where the cluster does not become smaller.
  func compress(
    _ cluster: RawSpan, into stream: inout MutableRawSpan
  ) throws(BlockError) -> Int? {
    precondition(cluster.byteCount == clusterSize, "whole clusters are compressed")
    precondition(stream.byteCount == longestStream, "a stream is shorter than its cluster")
    let context: any ClusterCompressor
    if let idle = compressors.take() { context = idle } else { context = try makeCompressor() }
    defer { compressors.put(context) }
    return context.compress(cluster, into: &stream)
  }

  /// Fills `cluster` from the stream that begins `stream`, which is at offset `host` of the file.
  ///
  /// Throws `io` for a stream that is damaged or does not have a whole cluster, and then `cluster`
  /// may hold anything. Not `corrupt`: that is for metadata, and ends writing; here a cluster is
  /// lost, and the others are as good as before.
  func decompress(
    _ stream: RawSpan, at host: HostOffset, into cluster: inout MutableRawSpan
  ) throws(BlockError) {
    precondition(cluster.byteCount == clusterSize, "whole clusters are decompressed")
    let context: any ClusterDecompressor
    if let idle = decompressors.take() { context = idle } else { context = try makeDecompressor() }
    defer { decompressors.put(context) }
    do throws(StreamDefect) {
      try context.decompress(stream, into: &cluster)
    } catch {
      throw BlockError(
        .io,
        "qcow2: the compressed cluster at offset 0x\(String(host.value, radix: 16)) cannot be "
          + "decompressed: \(error.message)")
    }
  }

  private func makeCompressor() throws(BlockError) -> any ClusterCompressor {
    switch compression {
    case .deflate: return try Deflater()
    case .zstd:
      #if Zstd
      return try ZstdCompressor()
      #else
      throw Self.zstdIsMissing
      #endif
    }
  }

  private func makeDecompressor() throws(BlockError) -> any ClusterDecompressor {
    switch compression {
    case .deflate:
      #if Libdeflate
      return try WholeInflater()
      #else
      return try Inflater()
      #endif
    case .zstd:
      #if Zstd
      return try ZstdDecompressor()
      #else
      throw Self.zstdIsMissing
      #endif
    }
  }

  #if !Zstd
  private static var zstdIsMissing: BlockError {
    BlockError(
      .unsupported,
      "Compressed clusters of zstd are not supported by this build: build Lamina with its package "
        + "trait Zstd ('swift build --traits Zstd', which needs libzstd)")
  }
  #endif

  /// The error of a library that could not get memory for its context.
  static func noMemory(_ library: String) -> BlockError {
    BlockError(.io, "\(library) has no memory for a context", errno: .noMemory)
  }
}
