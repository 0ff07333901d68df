internal import BitmapWorkloads
internal import Zlib

/// Clusters of 64 KiB that compress to about a half, and their raw deflate streams, as zlib makes
/// and reads them when nothing else is done: the yardstick of compressed clusters.
final class DeflateStreams: Sendable {
  static let clusterSize = 65536

  /// Each cluster's stream.
  let streams: [[UInt8]]

  init(count: Int) {
    streams = (0..<count).map { Self.compress(Self.cluster($0)) }
  }

  /// The contents of cluster `index`: words of a small vocabulary, in any order.
  static func cluster(_ index: Int) -> [UInt8] {
    var generator = SplitMix(seed: UInt64(index))
    var bytes: [UInt8] = []
    bytes.reserveCapacity(clusterSize + 16)
    while bytes.count < clusterSize {
      var word = SplitMix(seed: UInt64(generator.next(below: 4096)))
      for _ in 0..<3 + word.next(below: 8) { bytes.append(97 + UInt8(word.next(below: 26))) }
      bytes.append(32)
    }
    bytes.removeLast(bytes.count - clusterSize)
    return bytes
  }

  /// Inflates the streams of `range`, each into the same memory.
  func inflate(_ range: Range<Int>) {
    var stream = z_stream()
    let version = inflateInit2_(
      &stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    precondition(version == Z_OK, "zlib does not start")
    let cluster = RequestBuffer(Self.clusterSize)
    for index in range {
      inflateReset(&stream)
      streams[index].withUnsafeBytes { bytes in
        stream.lend(bytes, cluster.bytes)
        precondition(Zlib.inflate(&stream, Z_FINISH) == Z_STREAM_END, "a stream is damaged")
      }
    }
    inflateEnd(&stream)
  }

  /// Compresses `clusters`, each into the same memory.
  static func deflate(_ clusters: [[UInt8]]) {
    let result = RequestBuffer(2 * clusterSize)
    withDeflater { stream in
      for cluster in clusters {
        deflateReset(&stream)
        cluster.withUnsafeBytes { stream.lend($0, result.bytes) }
        precondition(Zlib.deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib does not compress")
      }
    }
  }

  private static func compress(_ cluster: [UInt8]) -> [UInt8] {
    let result = RequestBuffer(2 * clusterSize)
    return withDeflater { stream in
      cluster.withUnsafeBytes { bytes in
        stream.lend(bytes, result.bytes)
        precondition(Zlib.deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib does not compress")
      }
      return Array(result.bytes.prefix(result.bytes.count - Int(stream.avail_out)))
    }
  }

  /// As images have them: raw, a window of 12 bits, the most memory for matches.
  private static func withDeflater<Result>(_ body: (inout z_stream) -> Result) -> Result {
    var stream = z_stream()
    let status = deflateInit2_(
      &stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
      Int32(MemoryLayout<z_stream>.size))
    precondition(status == Z_OK, "zlib does not start")
    defer { deflateEnd(&stream) }
    return body(&stream)
  }
}

extension z_stream {
  fileprivate mutating func lend(
    _ input: UnsafeRawBufferPointer, _ output: UnsafeMutableRawBufferPointer
  ) {
    next_in = UnsafeMutablePointer(
      mutating: input.baseAddress?.assumingMemoryBound(to: UInt8.self))
    avail_in = UInt32(input.count)
    next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
    avail_out = UInt32(output.count)
  }
}
