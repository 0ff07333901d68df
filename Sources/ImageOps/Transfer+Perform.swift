internal import BlockLayer
internal import Primitives

/// A piece's life.
extension Transfer {
  func perform(_ piece: WalkPiece, through buffer: inout IOBuffer) async throws(BlockError) {
    // A long piece has been found to be zeros; who writes to the source must not surprise us.
    let isLong = piece.range.count > pieceByteCount
    var runs =
      isLong ? [TransferRun(kind: .zeros, range: piece.range)] : try await runs(of: piece.range)
    try await load(&runs, of: piece.range, into: &buffer)
    if let order {
      guard await order.wait(for: piece.number) else { return }
    }
    for run in runs {
      switch run.kind {
      case .left: break
      case .zeros: try await writeZeros(run.range)
      case .data:
        let part = buffer.bytes.slice(run.range.relative(to: piece.range.lower))
        try await write(run.range, part)
      }
    }
    order?.pass(piece.number)
  }

  // MARK: - Reading

  /// Reads the data of a piece to its place in the buffer; what need not be written is taken from
  /// `runs`.
  private func load(
    _ runs: inout [TransferRun], of piece: ByteRange, into buffer: inout IOBuffer
  ) async throws(BlockError) {
    var loaded: [TransferRun] = []
    for run in runs {
      guard run.kind == .data else {
        loaded.append(run)
        continue
      }
      var bytes = buffer.mutableBytes
      let place = run.range.relative(to: piece.lower)
      do throws(BlockError) {
        var part = bytes.slice(place)
        try await source.read(run.range, into: &part)
      } catch {
        guard let salvage else { throw error.failed("reading", at: run.range.lower) }
        var part = bytes.slice(place)
        await salvage.read(run.range, of: source, into: &part)
      }
      guard let reference = plan.reference else {
        loaded.append(run)
        continue
      }
      let otherPlace = ByteRange(offset: pieceByteCount + place.lower, count: place.count)
      do throws(BlockError) {
        var other = bytes.slice(otherPlace)
        try await reference.read(run.range, into: &other)
      } catch {
        throw error.failed("reading", at: run.range.lower)
      }
      let whole = buffer.bytes
      appendDifferences(run.range, whole.slice(place), whole.slice(otherPlace), to: &loaded)
    }
    runs = loaded
  }

  /// Adds the units in which the bytes differ.
  private func appendDifferences(
    _ range: ByteRange, _ bytes: RawSpan, _ other: RawSpan, to runs: inout [TransferRun]
  ) {
    var rest = range
    while !rest.isEmpty {
      let piece = rest.prefix(unit - rest.lower % unit)
      let place = piece.relative(to: range.lower)
      if !bytes.slice(place).elementsEqual(other.slice(place)) {
        if let last = runs.last, last.kind == .data, last.range.upper == piece.lower {
          runs[runs.count - 1].range = ByteRange(last.range.lower, piece.upper)
        } else {
          runs.append(TransferRun(kind: .data, range: piece))
        }
      }
      rest = rest.dropFirst(piece.count)
    }
  }

  // MARK: - Writing

  /// Writes data, of which blocks of zeros are written as such.
  private func write(_ range: ByteRange, _ bytes: RawSpan) async throws(BlockError) {
    guard zeroBlock > 0 else { return try await writeData(range, bytes) }
    var rest = range
    while !rest.isEmpty {
      let part = bytes.slice(rest.relative(to: range.lower))
      // Blocks are counted from the disk's beginning.
      let head = zeroBlock - rest.lower % zeroBlock
      let run =
        head < zeroBlock && head < rest.count
        ? part.slice(ByteRange(0, head)).leadingRun(block: head) : part.leadingRun(block: zeroBlock)
      let piece = rest.prefix(run.count)
      if run.isZero {
        try await writeZeros(piece)
      } else {
        try await writeData(piece, part.slice(ByteRange(0, piece.count)))
      }
      rest = rest.dropFirst(piece.count)
    }
  }

  /// The size of a block that may be left out: a whole cluster, where leaving out a part of one
  /// would show something else.
  private var zeroBlock: Int {
    if plan.isCompressed { return unit }
    guard plan.zeroBlock > 0 else { return 0 }
    return plan.needsWholeClusters ? max(plan.zeroBlock, unit) : plan.zeroBlock
  }

  private func writeData(_ range: ByteRange, _ bytes: RawSpan) async throws(BlockError) {
    do throws(BlockError) {
      if plan.isCompressed {
        try await target.writeCompressed(range, from: bytes)
      } else {
        try await target.write(range, from: bytes)
      }
    } catch {
      throw error.failed("writing", at: range.lower)
    }
  }

  private func writeZeros(_ range: ByteRange) async throws(BlockError) {
    var rest = range
    var mayUnmap = true
    do throws(BlockError) {
      switch plan.zeros {
      case .there: return
      case .made:
        while !rest.isEmpty, let known = try await zerosOfTarget(rest) {
          rest = rest.dropFirst(known)
        }
      case .written(let answer): mayUnmap = answer
      case .owned: break
      }
      try await target.writeZeroes(rest, mayUnmap: mayUnmap)
      if case .owned = plan.zeros { try await materialise(rest) }
    } catch {
      throw error.failed("writing", at: range.lower)
    }
  }

  /// Writes zeros as data wherever the target itself has nothing of `range`, which reads as zeros.
  ///
  /// A version 2 image without a backing file has no other way to say so.
  private func materialise(_ range: ByteRange) async throws(BlockError) {
    var rest = range
    while !rest.isEmpty {
      let answer = try await target.chainStatus(rest, downTo: target.dataNode)
      let part = rest.prefix(
        answer.status.isAllocated ? answer.count : min(answer.count, CopyLimits.chunkByteCount))
      if !answer.status.isAllocated {
        let zeros = IOBuffer(byteCount: part.count, zeroed: true)
        try await target.write(part, from: zeros.bytes)
      }
      rest = rest.dropFirst(part.count)
    }
  }

  /// For how many bytes from `range.lower` on the target itself has zeros; nil when it has others,
  /// or what is below it decides.
  private func zerosOfTarget(_ range: ByteRange) async throws(BlockError) -> Int? {
    let answer = try await target.chainStatus(range)
    return answer.status.isZero && answer.depth == 0 ? answer.count : nil
  }
}
