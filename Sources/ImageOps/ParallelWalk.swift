internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Work that can be done piece by piece, the pieces in any order and several at once.
protocol PiecewiseWork: Sendable {
  /// What is to be done with the beginning of `rest`.
  ///
  /// Asked by one worker at a time, from low to high.
  func next(in rest: ByteRange) async throws(BlockError) -> WalkStep

  /// Does it.
  func perform(_ piece: WalkPiece, through buffer: inout IOBuffer) async throws(BlockError)

  /// The work has failed, or was ended: nobody must wait for a piece any more.
  func abandon()
}

/// What is to be done with the next bytes, at least one.
enum WalkStep: Sendable {
  /// Nothing.
  case skip(Int)
  /// They make a piece.
  case work(Int)
}

/// A piece of work.
struct WalkPiece: Sendable {
  /// Counts the pieces, from 0.
  let number: Int
  let range: ByteRange
}

/// A walk over a disk by a number of workers that pull pieces from one cursor, each with a buffer
/// of its own.
///
/// One worker at a time has the turn: it sees to progress, rate and cancellation, and takes a
/// piece. Lock order: `turn`, then the state.
final class ParallelWalk<Work: PiecewiseWork>: Sendable {
  private struct State {
    var position = 0
    var pieces = 0
    var failure: BlockError?
  }

  private let work: Work
  private let length: Int
  private let pieceByteCount: Int
  private let bufferByteCount: Int
  private let options: WorkOptions
  private let turn = AsyncMutex()
  private let state = Mutex(State())
  private let completed = Atomic<Int>(0)

  /// Makes a walk over `length` bytes in pieces of about `pieceByteCount`, which lets a worker's
  /// buffer be of `bufferByteCount`.
  init(
    _ work: Work, length: Int, pieceByteCount: Int, bufferByteCount: Int, _ options: WorkOptions
  ) {
    self.work = work
    self.length = length
    self.pieceByteCount = pieceByteCount
    self.bufferByteCount = bufferByteCount
    self.options = options
  }

  /// Does all pieces; throws the first failure.
  func run() async throws(BlockError) {
    let pieces = length.dividedRoundingUp(by: pieceByteCount)
    let memory = max(1, CopyLimits.bufferByteCount / bufferByteCount)
    let workers = max(1, min(options.workerCount, pieces, memory))
    let start = World.current?.now
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<workers { group.addTask { await self.runWorker(start) } }
    }
    if let failure = state.withLock({ $0.failure }) { throw failure }
    guard options.onProgress(length, length) else { throw Self.cancellation }
  }

  private func runWorker(_ start: WorldInstant?) async {
    var buffer = IOBuffer(byteCount: bufferByteCount)
    do throws(BlockError) {
      while let piece = try await pull(start) {
        try await work.perform(piece, through: &buffer)
        completed.add(piece.range.count, ordering: .relaxed)
      }
    } catch {
      state.withLock { state in if state.failure == nil { state.failure = error } }
      work.abandon()
    }
  }

  /// The next piece; nil when there is none, or another worker has failed.
  private func pull(_ start: WorldInstant?) async throws(BlockError) -> WalkPiece? {
    try await turn.withLock { () async throws(BlockError) in
      while true {
        let (position, isOver) = state.withLock { ($0.position, $0.failure != nil) }
        if isOver || position >= length { return nil }
        guard options.onProgress(completed.load(ordering: .relaxed), length), !Task.isCancelled
        else { throw Self.cancellation }
        await keepToRate(position, start)
        switch try await work.next(in: ByteRange(position, length)) {
        case .skip(let count):
          state.withLock { $0.position += count }
          completed.add(count, ordering: .relaxed)
        case .work(let count):
          return state.withLock { state in
            defer {
              state.position += count
              state.pieces += 1
            }
            return WalkPiece(
              number: state.pieces, range: ByteRange(offset: position, count: count))
          }
        }
      }
    }
  }

  /// Waits until so many bytes may have been gone over.
  private func keepToRate(_ position: Int, _ start: WorldInstant?) async {
    guard options.bytesPerSecond > 0, let start, let world = World.current else { return }
    let seconds = Double(position) / Double(options.bytesPerSecond)
    await world.sleep(until: start.advanced(byNanoseconds: UInt64(seconds * 1e9)))
  }

  private static var cancellation: BlockError { BlockError(.cancelled, "cancelled") }
}
