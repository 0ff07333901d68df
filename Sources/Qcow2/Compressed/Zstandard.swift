#if Zstd
internal import BlockLayer
internal import CZstd
internal import Primitives

/// Compresses to one zstd frame (RFC 8878), at the library's default level and without checksum.
final class ZstdCompressor: ClusterCompressor, @unchecked Sendable {
  // Sendable: used by one task at a time, see `ContextPool`.
  private let context: OpaquePointer

  init() throws(BlockError) {
    guard let context = ZSTD_createCCtx() else { throw ClusterCodec.noMemory("libzstd") }
    self.context = context
  }

  deinit { ZSTD_freeCCtx(context) }

  func compress(_ cluster: RawSpan, into result: inout MutableRawSpan) -> Int? {
    cluster.withUnsafeBytes { input in
      result.withUnsafeMutableBytes { output in
        // Fails where the output is too short. Where memory is, the cluster is stored plain, which
        // is right too.
        let count = ZSTD_compress2(
          context, output.baseAddress, output.count, input.baseAddress, input.count)
        return ZSTD_isError(count) == 0 ? count : nil
      }
    }
  }
}

/// Decompresses zstd frames, one or several, until the cluster is full.
///
/// Frame by frame in one piece, not as a stream: then the output is the window, and a frame that
/// demands gigabytes for its window gets none.
final class ZstdDecompressor: ClusterDecompressor, @unchecked Sendable {
  // Sendable: see `ZstdCompressor`.
  private let context: OpaquePointer

  init() throws(BlockError) {
    guard let context = ZSTD_createDCtx() else { throw ClusterCodec.noMemory("libzstd") }
    self.context = context
  }

  deinit { ZSTD_freeDCtx(context) }

  func decompress(
    _ source: RawSpan, into cluster: inout MutableRawSpan
  ) throws(StreamDefect) {
    var read = 0
    var written = 0
    while written < cluster.byteCount {
      let rest = source.slice(ByteRange(read, source.byteCount))
      guard Self.beginsFrame(rest) else {
        throw StreamDefect(
          message: "its frames end \(cluster.byteCount - written) bytes before the cluster does")
      }
      var part = cluster.slice(ByteRange(written, cluster.byteCount))
      let (taken, made) = try decompressFrame(rest, into: &part)
      read += taken
      written += made
    }
  }

  /// Decompresses the first frame of `source`; answers its length and that of what it holds, which
  /// has to fit.
  ///
  /// A skippable frame holds nothing.
  private func decompressFrame(
    _ source: RawSpan, into target: inout MutableRawSpan
  ) throws(StreamDefect) -> (taken: Int, made: Int) {
    let (taken, made) = source.withUnsafeBytes { input in
      target.withUnsafeMutableBytes { output in
        let taken = ZSTD_findFrameCompressedSize(input.baseAddress, input.count)
        if ZSTD_isError(taken) != 0 { return (taken, taken) }
        return (
          taken,
          ZSTD_decompressDCtx(
            context, output.baseAddress, output.count, input.baseAddress, taken)
        )
      }
    }
    guard ZSTD_isError(made) == 0 else {
      throw StreamDefect(message: String(cString: ZSTD_getErrorName(made)))
    }
    return (taken, made)
  }

  /// Whether a frame of the standard begins here, or one to be skipped; libraries may know others,
  /// of before the standard.
  private static func beginsFrame(_ source: RawSpan) -> Bool {
    guard source.byteCount >= 4 else { return false }
    let magic = source.bigEndian(UInt32.self, at: 0).byteSwapped
    return magic == 0xfd2f_b528 || magic & 0xffff_fff0 == 0x184d_2a50
  }
}
#endif
