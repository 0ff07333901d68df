public import Primitives

/// Copying what was claimed.
extension CopyEngine {
  /// The size in bytes of a buffer that serves any task of at most `maxLength` bytes.
  public func bufferByteCount(maxLength: Int = CopyLimits.chunkByteCount) -> Int {
    max(clusterSize, maxLength.roundedDown(to: clusterSize))
  }

  /// Copies the clusters of `task`, and ends it.
  ///
  /// Runs that the source knows to be zero are written as zeros, not as data. Such a run that goes
  /// on behind the task takes what follows into the task, up to `zeroLimit` bytes in all. `buffer`
  /// has at least one cluster. After a failure, what was not copied is marked again.
  ///
  /// With `sparesZeros`, zeros are not written where the target itself says that it has zeros, as a
  /// new image does: a disk that is mostly empty would otherwise cost its backup a mapping of every
  /// cluster. Only for a copy of the whole disk: a copy of some of it may be put on top of another
  /// one later, and has to hide with its zeros what is there.
  public func copy(
    _ task: CopyTask, through buffer: inout IOBuffer, zeroLimit: Int = CopyLimits.zeroByteCount,
    sparesZeros: Bool = false
  ) async throws(CopyFailure) {
    var rest = task.range
    while !rest.isEmpty {
      do throws(CopyFailure) {
        let position = try await copyPiece(
          of: task, rest, through: &buffer, zeroLimit, sparesZeros)
        rest = advance(task, to: position)
      } catch {
        fail(task)
        throw error
      }
    }
  }

  /// Copies the first piece of `rest`, all zeros or all data; returns its end.
  private func copyPiece(
    of task: CopyTask, _ rest: ByteRange, through buffer: inout IOBuffer, _ zeroLimit: Int,
    _ sparesZeros: Bool
  ) async throws(CopyFailure) -> Int {
    switch await firstPiece(of: rest, max(zeroLimit, rest.count)) {
    case .zeroes(let end):
      let upper = end > rest.upper ? extend(task, to: end) : end
      try await writeZeroes(ByteRange(rest.lower, upper), sparesZeros)
      return upper
    case .data(let byteCount):
      let piece = rest.prefix(min(byteCount, buffer.byteCount.roundedDown(to: clusterSize)))
      try await copyData(piece, through: &buffer)
      return piece.upper
    }
  }

  private enum Piece {
    /// Zeros up to this cluster's bound or the disk's end.
    case zeroes(Int)
    /// So many bytes of clusters that may hold data.
    case data(Int)
  }

  /// What the source says of the bytes from `rest.lower` on, in whole clusters.
  private func firstPiece(of rest: ByteRange, _ limit: Int) async -> Piece {
    let window = ByteRange(rest.lower, length).prefix(limit)
    // A source that cannot tell is read: if it is broken, reading says so.
    guard let status = try? await source.node.chainStatus(window) else { return .data(clusterSize) }
    guard status.status.isZero else { return .data(status.count.roundedUp(to: clusterSize)) }
    let end = rest.lower + status.count
    let whole = end == length ? length : end.roundedDown(to: clusterSize)
    return whole > rest.lower ? .zeroes(whole) : .data(clusterSize)
  }

  private func copyData(
    _ range: ByteRange, through buffer: inout IOBuffer
  ) async throws(CopyFailure) {
    var bytes = buffer.mutableBytes
    var part = bytes.slice(ByteRange(0, range.count))
    do {
      try await source.node.read(range, into: &part)
    } catch {
      throw CopyFailure(.read, error)
    }
    do {
      if compresses {
        try await target.node.writeCompressed(range, from: part.bytes)
      } else {
        try await target.node.write(range, from: part.bytes)
      }
    } catch {
      throw CopyFailure(.write, error)
    }
  }

  private func writeZeroes(_ range: ByteRange, _ sparesZeros: Bool) async throws(CopyFailure) {
    var rest = range
    while sparesZeros, !rest.isEmpty, let known = await zerosOfTarget(rest) {
      rest = rest.dropFirst(known)
    }
    guard !rest.isEmpty else { return }
    do {
      try await target.node.writeZeroes(rest, mayUnmap: true)
    } catch {
      throw CopyFailure(.write, error)
    }
  }

  /// For how many bytes from `range.lower` on the target itself says that it has zeros; nil when it
  /// does not.
  ///
  /// Zeros that only show through from below do not count: what is below may change, and may be the
  /// very disk that is copied.
  private func zerosOfTarget(_ range: ByteRange) async -> Int? {
    guard let answer = try? await target.node.chainStatus(range), answer.status.isZero,
      answer.depth == 0,
      answer.status.isAllocated || target.node.dataNode.backing == nil
    else { return nil }
    return answer.count
  }
}

/// Copying for a guest.
extension CopyEngine {
  /// Returns when a guest may overwrite `range`: every cluster it touches that was still to be
  /// copied has been, by this call or by another that it waited for.
  ///
  /// Throws what failed; then nothing must be written.
  public func copyBeforeWrite(_ range: ByteRange) async throws(BlockError) {
    guard !range.isEmpty, range.lower < length else { return }
    let window = ByteRange(
      range.lower.roundedDown(to: clusterSize),
      min(range.upper.checkedRoundedUp(to: clusterSize) ?? length, length))
    while true {
      switch claim(in: window, maxLength: bufferByteCount()) {
      case .done: return
      case .busy(let version): await waitForChange(after: version)
      case .task(let task): try await copyForGuest(task)
      }
    }
  }

  private func copyForGuest(_ task: CopyTask) async throws(BlockError) {
    var buffer = IOBuffer(byteCount: task.range.count.roundedUp(to: clusterSize))
    do {
      // Not beyond what the guest waits for.
      try await copy(task, through: &buffer, zeroLimit: 0)
    } catch {
      throw error.error.prefixed("copy before write")
    }
  }
}
