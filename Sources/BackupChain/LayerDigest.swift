internal import BlockLayer
internal import Crypto
internal import Execution
internal import Primitives
internal import Synchronization

/// The digest of what one backup's file has itself, whatever its clusters are and wherever they lie
/// in the file.
///
/// The sum, modulo 2^256, of the SHA-256 of each block of 64 KiB that has data (its guest offset,
/// 8 bytes, least significant first; then its bytes, up to the disk's end; what of it the file does
/// not decide counts as zeros), of each longest run that the file says is zero (its offset; its
/// length; the byte `z`), and of the whole (0; the disk's length; the byte `l`). A sum has no
/// order: several workers take it, each from what it reads.
///
/// It finds what happened to the bytes by accident. It is no proof against somebody who forges.
struct LayerDigest: Equatable, Sendable {
  static let blockByteCount = 65536

  private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
  /// The bytes of data that it is taken of.
  private(set) var dataByteCount = 0

  init() {}

  static func == (left: LayerDigest, right: LayerDigest) -> Bool { left.words == right.words }

  /// 64 hexadecimal digits.
  var text: String {
    [words.3, words.2, words.1, words.0].map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  /// Takes the digest of an image's own layer.
  ///
  /// O(bytes of data), on all of the World's processors.
  static func of(_ node: BlockNode) async throws(BlockError) -> LayerDigest {
    let work = try await DigestWork(node)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<min(World.defaultThreadCount, 8) { group.addTask { await work.run() } }
    }
    return try work.result()
  }

  /// Adds the blocks of a chunk that was read.
  fileprivate mutating func addBlocks(_ chunk: ByteRange, _ bytes: RawSpan) {
    var offset = 0
    while offset < chunk.count {
      let count = min(Self.blockByteCount, chunk.count - offset)
      addBlock(chunk.lower + offset, bytes.slice(ByteRange(offset, offset + count)))
      offset += count
    }
    dataByteCount += chunk.count
  }

  private mutating func addBlock(_ offset: Int, _ bytes: RawSpan) {
    var hash = SHA256()
    hash.update(littleEndian: offset)
    bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
    add(hash.finalize())
  }

  fileprivate mutating func addZeros(_ run: ByteRange) { addRecord(run.lower, run.count, 0x7a) }

  fileprivate mutating func addLength(_ length: Int) { addRecord(0, length, 0x6c) }

  private mutating func addRecord(_ offset: Int, _ count: Int, _ kind: UInt8) {
    var hash = SHA256()
    hash.update(littleEndian: offset)
    hash.update(littleEndian: count)
    hash.update(data: [kind])
    add(hash.finalize())
  }

  private mutating func add(_ digest: SHA256.Digest) {
    var other = LayerDigest()
    digest.withUnsafeBytes { bytes in
      let load = { UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: UInt64.self)) }
      other.words = (load(0), load(8), load(16), load(24))
    }
    add(other)
  }

  fileprivate mutating func add(_ other: LayerDigest) {
    var carry = false
    words.0.add(other.words.0, carry: &carry)
    words.1.add(other.words.1, carry: &carry)
    words.2.add(other.words.2, carry: &carry)
    words.3.add(other.words.3, carry: &carry)
    dataByteCount += other.dataByteCount
  }
}

extension UInt64 {
  fileprivate mutating func add(_ other: UInt64, carry: inout Bool) {
    let (sum, first) = addingReportingOverflow(other)
    let (total, second) = sum.addingReportingOverflow(carry ? 1 : 0)
    self = total
    carry = first || second
  }
}

extension SHA256 {
  fileprivate mutating func update(littleEndian value: Int) {
    withUnsafeBytes(of: UInt64(value).littleEndian) { update(bufferPointer: $0) }
  }
}

/// The workers' common ground: the data of a layer in whole blocks, handed out chunk by chunk.
private final class DigestWork: Sendable {
  /// The bytes that are read at once.
  private static let chunkByteCount = 1 << 20

  private struct State {
    var runs: [ByteRange]
    var index = 0
    var position = 0
    var sum: LayerDigest
    var failure: BlockError?
  }
  private let node: BlockNode
  private let state: Mutex<State>

  /// Walks the layer's status; its zeros are in the sum at once.
  init(_ node: BlockNode) async throws(BlockError) {
    self.node = node
    var data: [ByteRange] = []
    var sum = LayerDigest()
    sum.addLength(node.length)
    var zeros = ByteRange(0, 0)
    var position = 0
    while position < node.length {
      let rest = ByteRange(position, node.length)
      let status = try await node.chainStatus(rest, downTo: node)
      let run = rest.prefix(status.count)
      position = run.upper
      guard status.status.isAllocated else { continue }
      if !status.status.isZero {
        Self.append(run, to: &data, length: node.length)
      } else if zeros.upper == run.lower, !zeros.isEmpty {
        zeros = ByteRange(zeros.lower, run.upper)
      } else {
        if !zeros.isEmpty { sum.addZeros(zeros) }
        zeros = run
      }
    }
    if !zeros.isEmpty { sum.addZeros(zeros) }
    state = Mutex(State(runs: data, sum: sum))
  }

  /// Rounds out to blocks, and joins.
  private static func append(_ run: ByteRange, to data: inout [ByteRange], length: Int) {
    let block = LayerDigest.blockByteCount
    let lower = run.lower / block * block
    let upper = min(length, (run.upper - 1) / block * block + block)
    if let last = data.last, last.upper >= lower {
      data[data.count - 1] = ByteRange(last.lower, max(last.upper, upper))
    } else {
      data.append(ByteRange(lower, upper))
    }
  }

  /// A worker: reads chunk by chunk and adds their blocks.
  func run() async {
    var buffer = IOBuffer(byteCount: Self.chunkByteCount)
    var sum = LayerDigest()
    do throws(BlockError) {
      while let chunk = next() {
        var bytes = buffer.mutableBytes
        var part = bytes.slice(ByteRange(0, chunk.count))
        try await node.read(chunk, into: &part)
        sum.addBlocks(chunk, part.bytes)
      }
      state.withLock { $0.sum.add(sum) }
    } catch {
      state.withLock { state in
        if state.failure == nil { state.failure = error }
        state.index = state.runs.count
      }
    }
  }

  private func next() -> ByteRange? {
    state.withLock { state in
      while state.index < state.runs.count {
        let run = state.runs[state.index]
        let start = max(state.position, run.lower)
        if start < run.upper {
          let end = min(run.upper, start + Self.chunkByteCount)
          state.position = end
          return ByteRange(start, end)
        }
        state.index += 1
      }
      return nil
    }
  }

  func result() throws(BlockError) -> LayerDigest {
    let (sum, failure) = state.withLock { ($0.sum, $0.failure) }
    if let failure { throw failure }
    return sum
  }
}
