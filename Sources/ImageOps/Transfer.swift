internal import BlockLayer
internal import Primitives
internal import Synchronization

/// Bringing what one disk shows into another: what convert, commit, rebase and flatten have in
/// common.
///
/// A piece is worked on in two steps: what it has is read and looked at; then it is written, in
/// order if that is asked for. Both go by *units*: whole clusters of the target where it matters
/// that a cluster is written whole.
struct Transfer: PiecewiseWork {
  let source: DiskView
  let target: BlockNode
  var plan: TransferPlan
  let salvage: SalvageLog?
  let order: WriteOrder?
  /// The unit in bytes, a power of two.
  let unit: Int
  /// The most data that a piece has.
  let pieceByteCount: Int

  init(_ source: DiskView, to target: BlockNode, _ plan: TransferPlan, _ options: WorkOptions) {
    self.source = source
    self.target = target
    self.plan = plan
    salvage = plan.salvages ? SalvageLog() : nil
    order = plan.keepsOrder ? WriteOrder() : nil
    unit = plan.needsWholeClusters ? max(target.clusterSize, 512) : 1
    let alignment = max(target.clusterSize, 4096)
    pieceByteCount = max(options.bufferByteCount.roundedDown(to: alignment), alignment)
  }

  /// Goes over the whole source.
  func run(_ options: WorkOptions) async throws(BlockError) {
    let buffers = plan.reference == nil ? 1 : 2
    try await ParallelWalk(
      self, length: source.length, pieceByteCount: pieceByteCount,
      bufferByteCount: pieceByteCount * buffers, options
    ).run()
  }

  func abandon() { order?.abandon() }

  // MARK: - What is there to be done

  /// Passes over what needs no work, as much as there is; zeros that must be written make a piece
  /// of their own, which needs no buffer and may be long.
  func next(in rest: ByteRange) async throws(BlockError) -> WalkStep {
    let run = try await self.run(rest)
    let alignment = max(target.clusterSize, unit)
    let count = run.count == rest.count ? rest.count : run.count.roundedDown(to: alignment)
    switch run.kind {
    case .left where count > 0: return .skip(count)
    case .zeros where count > 0 && plan.sparesZeros: return .skip(count)
    case .zeros where count > pieceByteCount: return .work(min(count, CopyLimits.zeroByteCount))
    default: return .work(min(rest.count, pieceByteCount))
    }
  }

  /// The run at the beginning of `rest`: of the source, and where that is to be compared, of what
  /// it is compared with.
  func run(_ rest: ByteRange) async throws(BlockError) -> DiskView.Run {
    var run: DiskView.Run
    do throws(BlockError) {
      run = try await source.run(rest)
    } catch {
      // What cannot be told can perhaps be read.
      guard salvage != nil else { throw error.failed("reading", at: rest.lower) }
      run = DiskView.Run(kind: .data, count: min(rest.count, CopyLimits.minimumClusterSize))
    }
    guard let reference = plan.reference, run.kind != .left else { return run }
    let other: DiskView.Run
    do throws(BlockError) {
      other = try await reference.run(rest.prefix(run.count))
    } catch {
      throw error.failed("reading", at: rest.lower)
    }
    run.count = other.count
    if run.kind == .zeros, other.kind == .zeros { run.kind = .left }
    return run
  }

  /// The runs of a piece in whole units; a unit that is of several sorts counts as data.
  func runs(of piece: ByteRange) async throws(BlockError) -> [TransferRun] {
    var runs: [TransferRun] = []
    var rest = piece
    while !rest.isEmpty {
      var run = try await self.run(rest)
      let end = rest.lower + run.count
      if end < rest.upper {
        var whole = end.roundedDown(to: unit)
        if run.kind == .data || whole <= rest.lower {
          run.kind = .data
          whole = min(end.roundedUp(to: unit), rest.upper)
        }
        run.count = whole - rest.lower
      }
      let range = rest.prefix(run.count)
      if let last = runs.last, last.kind == run.kind,
        run.kind != .data || joinsData(at: range.lower)
      {
        runs[runs.count - 1].range = ByteRange(last.range.lower, range.upper)
      } else {
        runs.append(TransferRun(kind: run.kind, range: range))
      }
      rest = rest.dropFirst(range.count)
    }
    return runs
  }
}

extension Transfer {
  /// Whether runs of data that meet at `offset` are one: not where they meet in mid of a block that
  /// may be found to be zeros, since the one's part may be, and the next one's not.
  private func joinsData(at offset: Int) -> Bool {
    plan.zeroBlock == 0 || plan.needsWholeClusters || offset % plan.zeroBlock == 0
  }
}

/// A run of a piece, and what becomes of it.
struct TransferRun: Sendable {
  var kind: DiskView.Run.Kind
  var range: ByteRange
}

/// How a transfer treats what it finds.
struct TransferPlan: Sendable {
  /// What becomes of zeros.
  enum Zeros: Sendable {
    /// The target has them already.
    case there
    /// They are made, unless the target says that it has them.
    case made
    /// They are made whatever the target says, which may have them from below; without `mayUnmap`,
    /// space is reserved for them.
    case written(mayUnmap: Bool)
    /// The target itself has them afterwards, whatever will be below it: as data, where its format
    /// leaves out what reads as zeros.
    case owned
  }

  var zeros: Zeros
  /// Zeros in data count as such in blocks of this size; 0: data is data.
  var zeroBlock = 0
  /// What differs from it alone is written, cluster by cluster.
  var reference: DiskView?
  var isCompressed = false
  var salvages = false
  var keepsOrder = false
  /// Whether the target's clusters are written whole, or not at all.
  var writesWholeClusters = false

  var sparesZeros: Bool { if case .there = zeros { true } else { false } }

  var needsWholeClusters: Bool { isCompressed || reference != nil || writesWholeClusters }
}

extension BlockError {
  /// The same error with what was being done, and where on the disk.
  func failed(_ what: String, at offset: Int) -> BlockError {
    prefixed("error while \(what) at byte \(offset)")
  }
}
