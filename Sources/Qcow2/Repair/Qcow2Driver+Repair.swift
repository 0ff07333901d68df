public import BlockLayer
internal import Primitives

extension Qcow2Driver {
  /// Puts right what a check finds, durably, and checks once more; guest data is not read.
  ///
  /// With `leaks`, clusters that nothing refers to are freed, and if nothing else is wrong copied
  /// flags are put right. With `all`, also: refcounts that are too low are raised, copied flags put
  /// right, reserved clusters that are none given up; snapshot table and bitmap directory are
  /// written anew, or go, as far as they cannot be read; refcount structures are rebuilt.
  /// The dirty and the corrupt bit are cleared if nothing corrupt is left.
  ///
  /// The image must be open for a check, and its file writable.
  public func repair(_ repair: ImageRepair) async throws(BlockError) -> ImageRepairResult {
    try await self.repair(repair, limits: CheckLimits())
  }

  /// Repairs within other limits than the usual ones.
  package func repair(
    _ repair: ImageRepair, limits: CheckLimits
  ) async throws(BlockError) -> ImageRepairResult {
    guard isForCheck else {
      throw BlockError(
        .unsupported, "the image is in use; open it for a check to repair it")
    }
    let node = file.node
    guard !node.isReadOnly else {
      throw BlockError(.readOnly, "the image is open read-only; it cannot be repaired")
    }
    let cluster = try await Self.readHeader(of: node, for: .check)
    if let feature = cluster.unsupportedFeatures(for: .check).first { throw .unsupported(feature) }
    var repairer = ImageRepairer(cluster, in: node, mode: repair, limits: limits)
    return try await repairer.run()
  }

  /// Repairs an image whose refcounts may be stale, as a writer has to before its first change;
  /// answers what its first cluster says then.
  ///
  /// Throws `corrupt` when not everything could be put right, and before anything is changed when
  /// bitmaps or snapshots would be lost: that is for who asks for a repair.
  static func repairDirty(
    _ cluster: HeaderCluster, in node: BlockNode
  ) async throws(BlockError) -> HeaderCluster {
    var repairer = ImageRepairer(cluster, in: node, mode: .all, limits: CheckLimits())
    repairer.mayLose = false
    let result: ImageRepairResult
    do throws(BlockError) {
      result = try await repairer.run()
    } catch {
      throw error.prefixed("Could not repair dirty image")
    }
    let left = result.remaining
    guard left.corruptions == 0, left.checkErrors == 0 else {
      let first = left.findings.first { $0.kind == .corruption || $0.kind == .checkError }
      throw BlockError(
        .corrupt,
        "Could not repair dirty image: \(left.corruptions) errors are left"
          + (first.map { ", the first: \($0.message)" } ?? "")
          + "; open it read-only and copy what can be read")
    }
    return try await readHeader(of: node, for: .readWrite)
  }
}
