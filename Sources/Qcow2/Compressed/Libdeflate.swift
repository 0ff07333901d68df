#if Libdeflate
internal import BlockLayer
internal import CLibdeflate
internal import Primitives

/// Decompresses raw deflate streams by libdeflate, which takes them in one piece and so is about
/// twice as fast as zlib.
///
/// Whatever it does not accept, zlib looks at: a stream that would go on when the cluster is full,
/// which is no fault, and damaged ones, so that builds do not differ in what they read or say.
final class WholeInflater: ClusterDecompressor, @unchecked Sendable {
  // Sendable: used by one task at a time, see `ContextPool`.
  private let context: OpaquePointer
  private let careful: Inflater

  init() throws(BlockError) {
    careful = try Inflater()
    guard let context = libdeflate_alloc_decompressor() else {
      throw ClusterCodec.noMemory("libdeflate")
    }
    self.context = context
  }

  deinit { libdeflate_free_decompressor(context) }

  func decompress(
    _ stream: RawSpan, into cluster: inout MutableRawSpan
  ) throws(StreamDefect) {
    let result = stream.withUnsafeBytes { input in
      cluster.withUnsafeMutableBytes { output in
        libdeflate_deflate_decompress(
          context, input.baseAddress, input.count, output.baseAddress, output.count, nil)
      }
    }
    if result != LIBDEFLATE_SUCCESS { try careful.decompress(stream, into: &cluster) }
  }
}
#endif
