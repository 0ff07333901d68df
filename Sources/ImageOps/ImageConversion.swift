public import BlockLayer
internal import Primitives

/// Brings what some disks show into another, whatever their formats: qemu-img's `convert`.
///
/// Runs that are known to be zero are not read, and blocks of zeros in data not written; with a
/// backing file below the target, only what that does not have. Any number of workers read and
/// write at once.
///
/// Source: qemu-img's manual page, "convert".
public struct ImageConversion: Sendable {
  /// What the target, which has nothing of its own then, has below itself already.
  public enum Backing: Sendable {
    /// Nothing, or nothing to rely on.
    case none
    /// What this layer of the source's own chain shows: only what the layers above it have is
    /// copied.
    case layer(BlockNode)
    /// What this node shows, whatever that is: contents are compared, and clusters that differ
    /// copied.
    case contents(BlockNode)
  }

  /// What the target has below itself already.
  public var backing = Backing.none
  /// The size of the blocks of zeros in data that are left out, in bytes; 0: everything is written,
  /// and space reserved for zeros where the target can.
  public var sparseSize = 4096
  /// Whether the caller knows that the target reads as zeros; where not, it is asked.
  public var targetIsZero = false
  /// Whether the target's clusters are written compressed.
  public var isCompressed = false
  /// Whether the target is written piece by piece in the disk's order.
  ///
  /// Then a target that allocates is laid out in that order, and the same source makes the same
  /// file. A host file takes one write at a time anyway, and writers that wait for each other in
  /// the host cost twice the processor time. Without, pieces are written as they come, which is
  /// faster where they take unequal times to read.
  public var keepsOrder = true
  /// Whether sectors that cannot be read become zeros, and are reported.
  public var salvages = false
  /// Workers, rate, progress.
  public var options: WorkOptions

  /// A conversion with qemu-img's defaults.
  public init(_ options: WorkOptions = WorkOptions()) { self.options = options }

  /// Writes what `sources` show, one behind the other, to `target`, and flushes it.
  ///
  /// The target is at least as long; what it has beyond stays. Answers what could not be read, if
  /// that is to be survived. Errors say the side and the byte; `cancelled` when the progress says
  /// so. After a failure the target has some of the contents.
  @discardableResult
  public func run(
    from sources: [BlockNode], to target: BlockNode
  ) async throws(BlockError) -> UnreadableBytes {
    let source = try view(sources)
    guard source.length <= target.length else {
      throw BlockError(.invalidArgument, "output file is smaller than input file")
    }
    if isCompressed, !target.isCompressing {
      throw BlockError(
        .unsupported, "Compression not supported for this file format", node: target.name)
    }
    try await checkEmpty(target)
    let transfer = Transfer(source, to: target, try await plan(target, source), options)
    try await transfer.run(options)
    do throws(BlockError) {
      try await target.flush()
    } catch {
      throw error.prefixed("error while flushing the target")
    }
    return transfer.salvage?.unreadable ?? UnreadableBytes()
  }

  /// Throws when what is to be left to the target's backing file might be hidden by the target.
  private func checkEmpty(_ target: BlockNode) async throws(BlockError) {
    if case .none = backing { return }
    var rest = ByteRange(0, target.length)
    while !rest.isEmpty {
      let answer = try await target.chainStatus(rest, downTo: target.dataNode)
      guard !answer.status.isAllocated else {
        throw BlockError(
          .invalidArgument,
          "the target has data of its own at byte \(rest.lower), which would hide its backing "
            + "file: convert without naming that", node: target.name)
      }
      rest = rest.dropFirst(answer.count)
    }
  }

  private func view(_ sources: [BlockNode]) throws(BlockError) -> DiskView {
    if case .none = backing { return DiskView(sources) }
    guard let source = sources.first, sources.count == 1 else {
      throw BlockError(
        .invalidArgument,
        "Having a backing file for the target makes no sense when concatenating multiple input "
          + "images")
    }
    guard case .layer(let base) = backing else { return DiskView(sources) }
    guard let floor = source.layer(above: base) else {
      throw BlockError(
        .invalidArgument,
        "node '\(base.name)' is no layer below '\(source.name)': compare contents instead")
    }
    return DiskView(sources, floor: floor)
  }

  private func plan(
    _ target: BlockNode, _ source: DiskView
  ) async throws(BlockError) -> TransferPlan {
    var plan = TransferPlan(zeros: .made, zeroBlock: sparseSize)
    plan.isCompressed = isCompressed
    plan.keepsOrder = keepsOrder
    plan.salvages = salvages
    if case .contents(let node) = backing {
      plan.reference = DiskView([node], length: source.length)
    }
    if sparseSize == 0 {
      plan.zeros = .written(mayUnmap: false)
    } else if case .none = backing {
      let isZero =
        targetIsZero ? true : try await target.showsZeros(in: ByteRange(0, source.length))
      if isZero { plan.zeros = .there }
    }
    // A part of a cluster can be left out only where nothing shows in its place.
    plan.writesWholeClusters = !plan.sparesZeros && target.clusterSize > 0
    return plan
  }
}

extension BlockNode {
  /// The layer of this node's chain whose backing node is `base`; nil where there is none.
  func layer(above base: BlockNode) -> BlockNode? {
    var layer = dataNode
    while let below = layer.backing {
      if below.dataNode === base.dataNode { return layer }
      layer = below.dataNode
    }
    return nil
  }

  /// Whether all of `range` is known to be zeros without a look at any data.
  func showsZeros(in range: ByteRange) async throws(BlockError) -> Bool {
    var rest = range
    while !rest.isEmpty {
      let answer = try await chainStatus(rest)
      guard answer.status.isZero else { return false }
      rest = rest.dropFirst(answer.count)
    }
    return true
  }
}
