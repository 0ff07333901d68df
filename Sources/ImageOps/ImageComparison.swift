public import BlockLayer
internal import Primitives

/// What a comparison of two images' contents found.
public enum ComparisonResult: Equatable, Sendable {
  /// Every byte agrees; what one image has beyond the other's end is zero.
  case identical
  /// The first differing byte; in strict comparisons also the first run whose kind differs.
  case contentMismatch(offset: Int)
  /// One image has something other than zeros beyond the other's end, at this offset.
  case mismatchBeyondEnd(offset: Int)
  /// The sizes differ, and the comparison is strict.
  case sizeMismatch
  /// The allocation differs at this offset, and the comparison is strict.
  case allocationMismatch(offset: Int)
}

/// Compares what two images show, run by run of their block status: runs that both read as zeros
/// are not read at all.
///
/// Source: qemu-img's manual page, "compare".
public struct ImageComparison: Sendable {
  /// Whether sizes and allocation must agree too.
  public var isStrict: Bool
  /// The size of the buffers, in bytes.
  public var bufferSize = 1 << 20

  /// A comparison of contents; of allocation too if it is strict.
  public init(isStrict: Bool = false) { self.isStrict = isStrict }

  /// Compares `left` and `right`.
  ///
  /// `progress` is called with the number of bytes that are done, out of the larger image's length.
  public func compare(
    _ left: BlockNode, _ right: BlockNode, progress: (Int) -> Void = { _ in }
  ) async throws(BlockError) -> ComparisonResult {
    if isStrict, left.length != right.length { return .sizeMismatch }
    let common = min(left.length, right.length)
    var position = 0
    var one = IOBuffer(byteCount: bufferSize)
    var two = IOBuffer(byteCount: bufferSize)
    while position < common {
      let rest = ByteRange(position, common)
      let here = try await left.chainStatus(rest)
      let there = try await right.chainStatus(rest)
      if isStrict, here.status.isAllocated != there.status.isAllocated {
        return .allocationMismatch(offset: position)
      }
      let run = rest.prefix(min(here.count, there.count))
      if let offset = try await differs(
        run, left, here.status.isZero, right, there.status.isZero, &one, &two)
      {
        return .contentMismatch(offset: offset)
      }
      position = run.upper
      progress(position)
    }
    let longer = left.length > right.length ? left : right
    while position < longer.length {
      let rest = ByteRange(position, longer.length)
      let status = try await longer.chainStatus(rest)
      let run = rest.prefix(status.count)
      if !status.status.isZero, let offset = try await firstNonzero(run, longer, &one) {
        return .mismatchBeyondEnd(offset: offset)
      }
      position = run.upper
      progress(position)
    }
    return .identical
  }

  private func differs(
    _ run: ByteRange, _ left: BlockNode, _ leftIsZero: Bool, _ right: BlockNode,
    _ rightIsZero: Bool, _ one: inout IOBuffer, _ other: inout IOBuffer
  ) async throws(BlockError) -> Int? {
    if leftIsZero, rightIsZero { return nil }
    if leftIsZero { return try await firstNonzero(run, right, &other) }
    if rightIsZero { return try await firstNonzero(run, left, &one) }
    var rest = run
    while !rest.isEmpty {
      let piece = rest.prefix(bufferSize)
      let window = ByteRange(0, piece.count)
      var bytes = one.mutableBytes
      var otherBytes = other.mutableBytes
      var part = bytes.slice(window)
      var otherPart = otherBytes.slice(window)
      try await left.read(piece, into: &part)
      try await right.read(piece, into: &otherPart)
      if let difference = part.bytes.firstDifference(from: otherPart.bytes) {
        return piece.lower + difference
      }
      rest = rest.dropFirst(piece.count)
    }
    return nil
  }

  private func firstNonzero(
    _ run: ByteRange, _ node: BlockNode, _ buffer: inout IOBuffer
  ) async throws(BlockError) -> Int? {
    var rest = run
    while !rest.isEmpty {
      let piece = rest.prefix(bufferSize)
      var bytes = buffer.mutableBytes
      var part = bytes.slice(ByteRange(0, piece.count))
      try await node.read(piece, into: &part)
      if let offset = part.bytes.firstNonzero { return piece.lower + offset }
      rest = rest.dropFirst(piece.count)
    }
    return nil
  }
}
