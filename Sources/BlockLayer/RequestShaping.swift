internal import Execution
internal import Primitives

/// Giving requests the shape that a driver takes: cut into pieces of whole blocks, and of parts of
/// one block, which are padded.
///
/// A *block* is the driver's request alignment; the last one ends with the node. Padding a write
/// reads its block, changes a part and writes it back. Meanwhile no other write to the block may
/// come between, or its bytes would be lost: so on a node with an alignment above 1, padded writes
/// hold their blocks alone, and all other writes hold theirs together.
extension BlockNode {
  /// Whether the driver takes a write like this without any shaping.
  func takesAsItIs(_ range: ByteRange) -> Bool {
    limits.requestAlignment == 1 && range.count <= limits.maxTransfer && eventSink == nil
  }

  /// Whether the range is made of whole blocks.
  func isAligned(_ range: ByteRange) -> Bool {
    limits.requestAlignment == 1
      || range.lower.isAligned(to: limits.requestAlignment) && isBlockEnd(range.upper)
  }

  /// The blocks that the range touches.
  func blocks(around range: ByteRange) -> ByteRange {
    guard !isAligned(range) else { return range }
    let upper = range.upper.checkedRoundedUp(to: limits.requestAlignment) ?? .max
    return ByteRange(
      range.lower.roundedDown(to: limits.requestAlignment),
      min(upper, max(length, range.upper)))
  }

  private func isBlockEnd(_ offset: Int) -> Bool {
    offset.isAligned(to: limits.requestAlignment) || offset >= length
  }

  // MARK: - Reads

  func readShaped(_ range: ByteRange, _ buffer: inout MutableRawSpan) async throws(BlockError) {
    var done = 0
    while done < range.count {
      let piece = nextPiece(of: range.dropFirst(done), longest: limits.maxTransfer)
      var part = buffer.slice(ByteRange(offset: done, count: piece.count))
      if isAligned(piece) {
        try await driver.read(piece, into: &part)
      } else {
        let block = blocks(around: piece)
        var bounce = IOBuffer(byteCount: block.count)
        var bytes = bounce.mutableBytes
        try await driver.read(block, into: &bytes)
        part.copy(from: bytes.bytes.slice(piece.relative(to: block.lower)))
      }
      done += piece.count
    }
  }

  // MARK: - Writes

  func writeShaped(
    _ range: ByteRange, _ bytes: RawSpan, forceUnitAccess: Bool
  ) async throws(BlockError) {
    let held = await holdBlocks(of: range)
    defer { letGo(held) }
    await raise(.pwritev)
    do {
      try await writePieces(of: range, bytes)
      if forceUnitAccess { try await flushWithin() }
    } catch {
      await raise(.pwritevDone)
      throw error
    }
    await raise(.pwritevDone)
  }

  func zeroShaped(
    _ range: ByteRange, mayUnmap: Bool, mayFallBack: Bool, forceUnitAccess: Bool
  ) async throws(BlockError) {
    let held = await holdBlocks(of: range)
    defer { letGo(held) }
    await raise(.pwritevZero)
    var rest = range
    while !rest.isEmpty {
      let piece = nextPiece(
        of: rest, longest: limits.maxWriteZeroes, unit: limits.zeroesAlignment)
      try await zeroPiece(piece, mayUnmap, mayFallBack)
      rest = rest.dropFirst(piece.count)
    }
    if forceUnitAccess { try await flushWithin() }
    await raise(.pwritevDone)
  }

  func discardShaped(_ range: ByteRange) async throws(BlockError) {
    let unit = max(limits.discardAlignment, limits.requestAlignment)
    let length = self.length
    let end = range.upper == length ? length.checkedRoundedUp(to: unit) ?? .max : range.upper
    let whole = ByteRange(range.lower, end).roundedIn(to: unit)
    var rest = whole.intersection(ByteRange(0, max(length, whole.lower)))
    let held = await holdBlocks(of: rest)
    defer { letGo(held) }
    while !rest.isEmpty {
      let piece = nextPiece(of: rest, longest: limits.maxDiscard, unit: unit)
      do {
        try await driver.discard(piece)
      } catch {
        guard error.code == .unsupported else { throw error }
      }
      rest = rest.dropFirst(piece.count)
    }
  }

  private func zeroPiece(
    _ piece: ByteRange, _ mayUnmap: Bool, _ mayFallBack: Bool
  ) async throws(BlockError) {
    if isAligned(piece) {
      do {
        try await driver.writeZeroes(piece, mayUnmap: mayUnmap)
        return
      } catch {
        guard error.code == .unsupported, mayFallBack else { throw error }
      }
    }
    // The driver has no better way than data.
    let zeros = IOBuffer(byteCount: min(piece.count, 1 << 20), zeroed: true)
    var rest = piece
    while !rest.isEmpty {
      let part = rest.prefix(zeros.byteCount)
      try await writePieces(of: part, zeros.bytes.slice(ByteRange(0, part.count)))
      rest = rest.dropFirst(part.count)
    }
  }

  private func writePieces(of range: ByteRange, _ bytes: RawSpan) async throws(BlockError) {
    var done = 0
    while done < range.count {
      let piece = nextPiece(of: range.dropFirst(done), longest: limits.maxTransfer)
      let part = bytes.slice(ByteRange(offset: done, count: piece.count))
      if isAligned(piece) {
        try await driver.write(piece, from: part)
      } else {
        try await writePadded(piece, part)
      }
      done += piece.count
    }
  }

  /// Writes a part of one block.
  private func writePadded(_ piece: ByteRange, _ part: RawSpan) async throws(BlockError) {
    let block = blocks(around: piece)
    var bounce = IOBuffer(byteCount: block.count, zeroed: true)
    var bytes = bounce.mutableBytes
    let hasHead = piece.lower != block.lower
    let hasTail = piece.upper != block.upper
    if hasHead { await raise(.pwritevRmwHead) }
    if hasTail { await raise(.pwritevRmwTail) }
    let present = block.intersection(ByteRange(0, max(length, block.lower)))
    if !present.isEmpty {
      var old = bytes.slice(ByteRange(0, present.count))
      try await driver.read(present, into: &old)
    }
    if hasHead { await raise(.pwritevRmwAfterHead) }
    if hasTail { await raise(.pwritevRmwAfterTail) }
    bytes.copy(from: part, at: piece.lower - block.lower)
    try await driver.write(block, from: bytes.bytes)
  }

  // MARK: - Pieces and locks

  /// The first piece of a request: a part of one block; or whole blocks, at most `longest` bytes of
  /// them, which do not cross a multiple of `unit` unless they begin and end at one.
  private func nextPiece(of rest: ByteRange, longest: Int, unit: Int = 1) -> ByteRange {
    let alignment = limits.requestAlignment
    let blockEnd = min(rest.upper, (rest.lower + 1).checkedRoundedUp(to: alignment) ?? .max)
    guard rest.lower.isAligned(to: alignment), isBlockEnd(blockEnd) else {
      return ByteRange(rest.lower, blockEnd)
    }
    let unit = max(unit, alignment)
    var piece = rest.prefix(longest)
    if !rest.lower.isAligned(to: unit), let start = rest.lower.checkedRoundedUp(to: unit) {
      piece = piece.prefix(start - rest.lower)
    }
    guard !piece.upper.isAligned(to: unit), piece.upper < length else { return piece }
    let whole = piece.upper.roundedDown(to: unit)
    let upper = whole > rest.lower ? whole : piece.upper.roundedDown(to: alignment)
    return ByteRange(rest.lower, upper)
  }

  func holdBlocks(of range: ByteRange) async -> RangeLock.Token? {
    guard limits.requestAlignment > 1 else { return nil }
    return await paddingLock.lock(
      blocks(around: range), isAligned(range) ? .shared : .exclusive)
  }

  func letGo(_ token: RangeLock.Token?) {
    if let token { paddingLock.unlock(token) }
  }
}
