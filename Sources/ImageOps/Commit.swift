public import BlockLayer
internal import Primitives

/// Bringing what overlays have into a layer below them.
public enum Commit {
  /// Writes what the layers of `top` above `base` have to `base`, durably; then, if `empties`,
  /// `top` gives up what it has, which shows through from then on.
  ///
  /// `base` is a layer of `top`'s chain and open for writing (`openForCommit`); one that is shorter
  /// grows first. Only the layer right above the base may be emptied: others would show what is
  /// between them. Nobody else may be writing. A crash at any moment leaves `top` with the contents
  /// that it shows: the base is durable before the first cluster is given up. Images between the
  /// two, and other overlays of the base, show a mixture afterwards; so do internal snapshots of
  /// `top`, which show the base where they have nothing of their own.
  ///
  /// Source: qemu-img's manual page, "commit".
  public static func run(
    _ top: BlockNode, into base: BlockNode, empties: Bool = true,
    _ options: WorkOptions = WorkOptions()
  ) async throws(BlockError) {
    guard let floor = top.layer(above: base) else {
      throw BlockError(
        .invalidArgument, "node '\(base.name)' is no layer below '\(top.name)'", node: top.name)
    }
    let isNext = floor === top.dataNode
    guard !empties || isNext else {
      throw BlockError(
        .invalidArgument,
        "node '\(top.name)' must keep what it has: it would show the layers above '\(base.name)'",
        node: top.name)
    }
    if empties { try top.dataNode.checkEmptyable() }
    guard !base.isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: base.name)
    }
    if base.length < top.length { try await base.resize(to: top.length) }
    let plan = TransferPlan(zeros: .made)
    let source = DiskView([top], floor: floor)
    try await Transfer(source, to: base, plan, options).run(options)
    try await base.flush()
    if empties { try await top.dataNode.makeEmpty() }
  }
}
