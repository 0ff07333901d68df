public import Primitives

/// The bytes of a disk in memory, of which only written blocks take space.
///
/// It is a value: a copy shares its blocks with the original until one of both changes them. Bytes
/// never written read as zeros. Copying is O(1), the first change after it O(blocks).
public struct SparseImage: Sendable {
  /// The unit of allocation in bytes, as a host file system has one.
  public static let blockSize = 4096

  /// The length in bytes.
  public private(set) var length: Int
  private var blocks: [Int: [UInt8]] = [:]

  private static let emptyBlock = [UInt8](repeating: 0, count: blockSize)

  /// An image of `length` zeros.
  public init(length: Int = 0) {
    precondition(length >= 0, "an image has no negative length")
    self.length = length
  }

  /// An image of those bytes.
  public init(_ bytes: [UInt8]) {
    self.init(length: bytes.count)
    write(bytes.span.bytes, at: 0)
  }

  /// The space taken, in bytes: whole blocks.
  public var allocatedBytes: Int { blocks.count * Self.blockSize }

  // MARK: - Bytes

  /// Copies the bytes of `range` into `buffer`, which has its length; zeros beyond the end.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) {
    precondition(buffer.byteCount == range.count, "a buffer has its request's length")
    for piece in Self.pieces(range) {
      let target = piece.relative(to: range.lower)
      let number = piece.lower / Self.blockSize
      if let block = blocks[number] {
        let source = piece.relative(to: number * Self.blockSize)
        buffer.copy(from: block.span.bytes.slice(source), at: target.lower)
      } else {
        // Faster than filling where nothing is optimised.
        let zeros = Self.emptyBlock.span.bytes.slice(ByteRange(0, target.count))
        buffer.copy(from: zeros, at: target.lower)
      }
    }
  }

  /// The bytes of `range`; zeros beyond the end.
  public func bytes(_ range: ByteRange) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: range.count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    read(range, into: &raw)
    return bytes
  }

  /// All bytes.
  public var bytes: [UInt8] { bytes(ByteRange(0, length)) }

  /// Puts `bytes` at `offset`; an image that ends before their end grows.
  public mutating func write(_ bytes: RawSpan, at offset: Int) {
    let range = ByteRange(offset: offset, count: bytes.byteCount)
    for piece in Self.pieces(range) {
      let number = piece.lower / Self.blockSize
      Self.patch(
        &blocks[number, default: Self.emptyBlock], at: piece.lower - number * Self.blockSize,
        with: bytes.slice(piece.relative(to: range.lower)))
    }
    if !range.isEmpty { length = max(length, range.upper) }
  }

  /// Puts `bytes` at `offset`; an image that ends before their end grows.
  public mutating func write(_ bytes: [UInt8], at offset: Int) {
    write(bytes.span.bytes, at: offset)
  }

  /// Makes `range` read as zeros and gives up the blocks that lie wholly in it.
  ///
  /// The length stays.
  public mutating func zero(_ range: ByteRange) {
    let whole = range.roundedIn(to: Self.blockSize)
    for number in blockNumbers(in: range) {
      let block = ByteRange(offset: number * Self.blockSize, count: Self.blockSize)
      if whole.contains(block) {
        blocks[number] = nil
      } else {
        let part = range.intersection(block).relative(to: block.lower)
        Self.patch(
          &blocks[number, default: Self.emptyBlock], at: part.lower,
          with: Self.emptyBlock.span.bytes.slice(ByteRange(0, part.count)))
      }
    }
  }

  /// Gives the image another length; what it loses reads as zeros should it grow again.
  public mutating func resize(to length: Int) {
    precondition(length >= 0, "an image has no negative length")
    if length < self.length { zero(ByteRange(length, self.length)) }
    self.length = length
  }

  /// Where the run of allocated, or of unallocated, bytes that `range` begins with ends, and which
  /// of both it is.
  public func run(_ range: ByteRange) -> (isAllocated: Bool, count: Int) {
    let first = range.lower / Self.blockSize
    guard blocks[first] != nil else {
      let next = blocks.keys.filter { $0 > first }.min() ?? range.upper / Self.blockSize + 1
      return (false, min(next * Self.blockSize, range.upper) - range.lower)
    }
    var end = first + 1
    while end * Self.blockSize < range.upper, blocks[end] != nil { end += 1 }
    return (true, min(end * Self.blockSize, range.upper) - range.lower)
  }

  /// The blocks, taken or not, that a write of `range` would add to `allocatedBytes`, in bytes, and
  /// the end of the part that fits when only `free` bytes are left.
  func fitting(_ range: ByteRange, free: Int) -> ByteRange {
    var left = free / Self.blockSize
    for piece in Self.pieces(range) where blocks[piece.lower / Self.blockSize] == nil {
      if left <= 0 { return ByteRange(range.lower, piece.lower) }
      left -= 1
    }
    return range
  }

  // MARK: - Sectors

  /// What the sector with that number holds.
  func sector(_ number: Int) -> SectorContent {
    let range = Sector.range(number)
    guard let block = blocks[range.lower / Self.blockSize] else { return .zeros }
    let start = range.lower % Self.blockSize
    return SectorContent(block.span.bytes.slice(ByteRange(offset: start, count: Sector.size)))
  }

  /// Replaces a sector; bytes beyond the image's end are kept, and cut off by `resize(to:)`.
  mutating func setSector(_ number: Int, _ content: SectorContent) {
    let length = length
    let range = Sector.range(number)
    if !content.isZero {
      write(content.bytes.span.bytes, at: range.lower)
    } else if blocks[range.lower / Self.blockSize] != nil {
      zero(range)
    }
    self.length = length
  }

  /// Cuts off everything from `length` on, also what lies beyond the present end.
  mutating func cut(to length: Int) {
    if let last = blocks.keys.max() {
      let end = max((last + 1) * Self.blockSize, length)
      zero(ByteRange(length, end))
    }
    self.length = length
  }

  /// The numbers of the sectors of `range` that are not all zeros, ascending.
  func nonZeroSectors(in range: ByteRange) -> [Int] {
    blockNumbers(in: range).flatMap { number in
      let block = ByteRange(offset: number * Self.blockSize, count: Self.blockSize)
      return Sector.numbers(in: block.intersection(range)).filter { !sector($0).isZero }
    }
  }

  /// A hash of length and contents that is the same in every process and does not depend on which
  /// zeros are allocated.
  ///
  /// O(allocated bytes).
  public var signature: UInt64 {
    blocks.keys.sorted().reduce(Self.lengthSignature(length)) { sum, block in
      let first = block * (Self.blockSize / Sector.size)
      return (first..<first + Self.blockSize / Sector.size).reduce(sum) {
        $0 &+ sector($1).signature(at: $1)
      }
    }
  }

  static func lengthSignature(_ length: Int) -> UInt64 { StableHash.mix(0, UInt64(length)) }

  /// The first byte in which the images differ; the shorter one's end counts.
  public func firstDifference(from other: SparseImage) -> Int? {
    let common = min(length, other.length)
    let all = Set(blocks.keys).union(other.blocks.keys).sorted()
    for number in all where number * Self.blockSize < common {
      let block = ByteRange(offset: number * Self.blockSize, count: Self.blockSize)
        .intersection(ByteRange(0, common))
      let left = bytes(block)
      let right = other.bytes(block)
      if let offset = left.span.bytes.firstDifference(from: right.span.bytes) {
        return block.lower + offset
      }
    }
    return length == other.length ? nil : common
  }

  // MARK: - Blocks

  /// The allocated blocks that share a byte with `range`, ascending.
  private func blockNumbers(in range: ByteRange) -> [Int] {
    guard !range.isEmpty else { return [] }
    let numbers = range.lower / Self.blockSize...(range.upper - 1) / Self.blockSize
    return numbers.count <= blocks.count
      ? numbers.filter { blocks[$0] != nil } : blocks.keys.filter(numbers.contains).sorted()
  }

  /// `range`, cut at the borders of blocks.
  private static func pieces(_ range: ByteRange) -> UnfoldSequence<ByteRange, ByteRange> {
    sequence(state: range) { rest in
      guard !rest.isEmpty else { return nil }
      let piece = rest.prefix(blockSize - rest.lower % blockSize)
      rest = rest.dropFirst(piece.count)
      return piece
    }
  }

  private static func patch(_ block: inout [UInt8], at offset: Int, with bytes: RawSpan) {
    var span = block.mutableSpan
    var raw = span.mutableBytes
    raw.copy(from: bytes, at: offset)
  }
}

extension SparseImage: Equatable {
  /// Whether length and all bytes agree.
  public static func == (left: SparseImage, right: SparseImage) -> Bool {
    left.length == right.length && left.firstDifference(from: right) == nil
  }
}
