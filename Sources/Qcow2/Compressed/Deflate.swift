internal import BlockLayer
internal import CZlib
internal import Primitives

/// Compresses to a raw deflate stream (RFC 1951), without header or trailer.
///
/// Its matches reach back 4 KiB at most: other readers of the format have no longer window.
final class Deflater: ClusterCompressor, @unchecked Sendable {
  // Sendable: used by one task at a time, see `ContextPool`. zlib's state refers to the struct's
  // address, so that it may not move.
  private let stream: UnsafeMutablePointer<z_stream>

  init() throws(BlockError) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    // As in qemu-img's files: raw (negative), a window of 12 bits, the most memory for matches.
    let status = deflateInit2_(
      stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
      Int32(MemoryLayout<z_stream>.size))
    guard status == Z_OK else {
      stream.deallocate()
      throw ClusterCodec.noMemory("zlib")
    }
  }

  deinit {
    deflateEnd(stream)
    stream.deallocate()
  }

  func compress(_ cluster: RawSpan, into result: inout MutableRawSpan) -> Int? {
    deflateReset(stream)
    return cluster.withUnsafeBytes { input in
      result.withUnsafeMutableBytes { output in
        stream.pointee.lend(input, output)
        guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return nil }
        return output.count - Int(stream.pointee.avail_out)
      }
    }
  }
}

/// Decompresses raw deflate streams.
///
/// It takes matches of up to 32 KiB back, although writers should not make them.
final class Inflater: ClusterDecompressor, @unchecked Sendable {
  // Sendable: see `Deflater`.
  private let stream: UnsafeMutablePointer<z_stream>

  init() throws(BlockError) {
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    let status = inflateInit2_(stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard status == Z_OK else {
      stream.deallocate()
      throw ClusterCodec.noMemory("zlib")
    }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  func decompress(
    _ source: RawSpan, into cluster: inout MutableRawSpan
  ) throws(StreamDefect) {
    inflateReset(stream)
    let status = source.withUnsafeBytes { input in
      cluster.withUnsafeMutableBytes { output in
        stream.pointee.lend(input, output)
        // All of the output is there at once, so that zlib needs no window of its own.
        return inflate(stream, Z_FINISH)
      }
    }
    let missing = Int(stream.pointee.avail_out)
    // A stream that would go on when the cluster is full is accepted, as QEMU does.
    guard status == Z_STREAM_END || status == Z_BUF_ERROR else {
      throw StreamDefect(
        message: stream.pointee.msg.map { String(cString: $0) } ?? "zlib's status \(status)")
    }
    guard missing == 0 else {
      throw StreamDefect(message: "its stream ends \(missing) bytes before the cluster does")
    }
  }
}

extension z_stream {
  /// Points the stream at what it reads and writes in the next call.
  fileprivate mutating func lend(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) {
    // zlib does not write there; without ZLIB_CONST its field does not say so.
    next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    avail_in = UInt32(input.count)
    next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    avail_out = UInt32(output.count)
  }
}
