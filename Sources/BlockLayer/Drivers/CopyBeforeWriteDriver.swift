public import Primitives
internal import Synchronization

/// A filter that saves what a guest is about to overwrite: QEMU's `copy-before-write`.
///
/// Requests go to the node below (`file`). Before a write, a write of zeros or a discard, every
/// copy cluster that it touches and that the engine still has to copy is copied to the `target`.
/// When that fails, so does the guest's request, and nothing is written: the target stays what
/// the disk was (QEMU's policy `break-guest-write`).
///
/// Put it into the graph with `BlockGraph.insert(filter:above:)`, after `activate()`. It is taken
/// out with `deactivate()`, `BlockGraph.remove(filter:)`, `detach()` and `BlockGraph.close(_:)`.
public final class CopyBeforeWriteDriver: BlockDriver {
  /// Copies from `file` to `target`, for the background too.
  public let engine: CopyEngine
  private let file: BlockEdge
  private let target: BlockEdge
  private let state = Mutex(State())

  private struct State {
    var isActive = false
    var isDetached = false
  }

  /// Makes a filter between `source` and what will be above it, with nothing to save yet.
  ///
  /// `clusterSize`, in bytes, is a power of two.
  public init(
    source: BlockNode, target: BlockNode, clusterSize: Int, compresses: Bool = false
  ) throws(BlockError) {
    file = try BlockEdge(.file, to: source)
    do throws(BlockError) {
      self.target = try BlockEdge(.target, to: target)
    } catch {
      file.detach()
      throw error
    }
    do throws(BlockError) {
      engine = try CopyEngine(
        source: file, target: self.target, clusterSize: clusterSize, compresses: compresses)
    } catch {
      self.target.detach()
      file.detach()
      throw error
    }
  }

  /// From now on nobody else may write to the node below: what is above goes through the filter.
  public func activate() { state.withLock { $0.isActive = true } }

  /// Others may write to the node below again.
  public func deactivate() { state.withLock { $0.isActive = false } }

  /// Lets go of the nodes below.
  ///
  /// No request may come afterwards.
  public func detach() {
    let isFirst = state.withLock { state in
      defer { state.isDetached = true }
      return !state.isDetached
    }
    guard isFirst else { return }
    target.detach()
    file.detach()
  }

  // MARK: - What a driver tells

  /// `copy-before-write`.
  public var driverName: String { "copy-before-write" }

  /// The length of the node below.
  public var length: Int { state.withLock { $0.isDetached } ? engine.length : file.node.length }

  /// A filter.
  public var isFilter: Bool { true }

  /// `file` and `target`.
  public var children: [BlockEdge] { state.withLock { $0.isDetached } ? [] : [file, target] }

  /// Writes to the target; passes its users' permissions to the node below, and shares writing with
  /// nobody while it is active or has users that do anything.
  public func permissions(
    for role: ChildRole, parents: EdgePermissions, readOnly: Bool
  ) -> EdgePermissions {
    if role == .target {
      return EdgePermissions(taken: .write, shared: .all.subtracting(.resize))
    }
    guard !parents.taken.isEmpty || state.withLock({ $0.isActive }) else { return .none }
    var taken = parents.taken
    if taken.contains(.write) { taken.insert(.consistentRead) }
    return EdgePermissions(
      taken: taken, shared: parents.shared.subtracting([.write, .resize]))
  }

  // MARK: - Requests

  /// Reads the node below.
  public func read(
    _ range: ByteRange, into buffer: inout MutableRawSpan
  ) async throws(BlockError) {
    try await file.node.read(range, into: &buffer)
  }

  /// Saves what is there, then writes.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    #if !MUTANT_COPY_BEFORE_WRITE_SKIPPED
    try await engine.copyBeforeWrite(range)
    #endif
    try await file.node.write(range, from: bytes)
  }

  /// Saves what is there, then writes zeros.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    try await engine.copyBeforeWrite(range)
    try await file.node.writeZeroes(range, mayUnmap: mayUnmap)
  }

  /// Saves what is there, then discards.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    try await engine.copyBeforeWrite(range)
    try await file.node.discard(range)
  }

  /// What the node below says.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await file.node.layerStatus(range)
  }
}
