internal import Primitives

/// The chunks of a memory disk that hold a nonzero byte, in order of their place.
///
/// A sorted array: disks in tests have few chunks or are written in sequence, and block status
/// needs the next chunk after a place, however far.
struct MemoryChunks: ~Copyable {
  private static var size: Int { 1 << 16 }

  private final class Chunk {
    let number: Int
    var memory = IOBuffer(byteCount: MemoryChunks.size, zeroed: true)

    init(number: Int) { self.number = number }
  }
  private var chunks: [Chunk] = []

  /// The memory in use.
  var byteCount: Int { chunks.count * Self.size }

  /// Copies the bytes of `range` to `buffer`.
  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) {
    var position = range.lower
    var index = firstIndex(notBefore: position / Self.size)
    while position < range.upper {
      let piece = Self.piece(of: range, at: position)
      let place = ByteRange(offset: position - range.lower, count: piece.count)
      if index < chunks.count, chunks[index].number == position / Self.size {
        var target = buffer.slice(place)
        chunks[index].memory.load(piece, into: &target)
        index += 1
      } else {
        buffer.fill(place, with: 0)
      }
      position += piece.count
    }
  }

  /// Stores `bytes` as those of `range`.
  ///
  /// Zeros take no memory where there is none yet.
  mutating func write(_ range: ByteRange, from bytes: RawSpan) {
    var position = range.lower
    while position < range.upper {
      let piece = Self.piece(of: range, at: position)
      let part = bytes.slice(ByteRange(offset: position - range.lower, count: piece.count))
      let number = position / Self.size
      let index = firstIndex(notBefore: number)
      let isKept = index < chunks.count && chunks[index].number == number
      if isKept || !part.isZero {
        if !isKept { chunks.insert(Chunk(number: number), at: index) }
        chunks[index].memory.store(part, at: piece.lower)
      }
      position += piece.count
    }
  }

  /// Zeroes `range`; whole chunks go.
  mutating func zero(_ range: ByteRange) {
    guard !range.isEmpty else { return }
    var first = firstIndex(notBefore: range.lower / Self.size)
    var last = firstIndex(notBefore: (range.upper - 1) / Self.size + 1)
    if first < last, zeroPart(of: chunks[first], range) { first += 1 }
    if first < last, zeroPart(of: chunks[last - 1], range) { last -= 1 }
    if first < last { chunks.removeSubrange(first..<last) }
  }

  /// Whether the byte at the beginning of `range` is in a kept chunk, and for how many bytes of
  /// the range that goes on.
  func run(_ range: ByteRange) -> (isData: Bool, count: Int) {
    let number = range.lower / Self.size
    let lastNumber = (range.upper - 1) / Self.size
    var index = firstIndex(notBefore: number)
    let isData = index < chunks.count && chunks[index].number == number
    var next = number
    if isData {
      while index < chunks.count, chunks[index].number == next, next <= lastNumber {
        next += 1
        index += 1
      }
    } else {
      next = index < chunks.count ? chunks[index].number : .max
    }
    let end = next > lastNumber ? range.upper : next * Self.size
    return (isData, end - range.lower)
  }

  // MARK: - Chunks

  /// Zeroes the part of a chunk that lies in `range`; false, and untouched, if that is all of it.
  private func zeroPart(of chunk: Chunk, _ range: ByteRange) -> Bool {
    let start = chunk.number * Self.size
    let low = max(range.lower - start, 0)
    let high = min(range.upper - start, Self.size)
    guard high - low < Self.size else { return false }
    chunk.memory.clear(ByteRange(low, high))
    return true
  }

  /// The bytes of `range` from `position` to the end of its chunk, counted from the chunk's start.
  private static func piece(of range: ByteRange, at position: Int) -> ByteRange {
    let start = position % size
    return ByteRange(offset: start, count: min(size - start, range.upper - position))
  }

  /// The index of the first chunk that is not before chunk `number`.
  private func firstIndex(notBefore number: Int) -> Int {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle].number < number { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

/// What is done to the memory of a chunk where it stands: its spans cannot leave the class.
extension IOBuffer {
  fileprivate func load(_ range: ByteRange, into target: inout MutableRawSpan) {
    target.copy(from: bytes.slice(range))
  }

  fileprivate mutating func store(_ source: RawSpan, at offset: Int) {
    var memory = mutableBytes
    memory.copy(from: source, at: offset)
  }

  fileprivate mutating func clear(_ range: ByteRange) {
    var memory = mutableBytes
    memory.fill(range, with: 0)
  }
}
