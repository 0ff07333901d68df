internal import BlockLayer
internal import Primitives

/// A new snapshot table.
extension ImageRepairer {
  /// Writes the snapshot table anew, without what it must not have and with what it lacks; says
  /// whether that could be done.
  mutating func writeSnapshots(
    _ entries: [SnapshotTableEntry], mayDrop: Bool, because findings: [CheckFinding]
  ) async throws(BlockError) -> Bool {
    let virtualSize = cluster.header.virtualSize
    let bytes = entries.flatMap { $0.repaired.serialize(virtualSize: virtualSize) }
    var offset = 0
    if !entries.isEmpty {
      let count = geometry.clusterCount(forBytes: bytes.count)
      guard bytes.count <= FormatLimits.maximumSnapshotTableBytes,
        let first = try await takeClusters(count, isAtEnd: mayDrop)
      else {
        tell("The snapshot table is not written anew: there is no room for it")
        return false
      }
      offset = first << geometry.clusterBits
      let padding = (count << geometry.clusterBits) - bytes.count
      let whole = bytes + [UInt8](repeating: 0, count: padding)
      try await node.write(ByteRange(offset: offset, count: whole.count), from: whole.span.bytes)
    }
    try await patchHeader(.snapshotTable) { header in
      header.snapshotCount = entries.count
      header.snapshotTableOffset = HostOffset(offset)
    }
    for finding in findings { tell(finding.repairMessage) }
    return true
  }
}

extension SnapshotTableEntry {
  /// The entry with extra data that every reader takes, and an instruction count that says that
  /// there is none where an old entry says nothing.
  fileprivate var repaired: SnapshotTableEntry {
    var entry = self
    entry.instructionCount = instructionCount ?? .max
    let most = FormatLimits.maximumSnapshotExtraBytes - (extraByteCount - unknownExtraData.count)
    entry.unknownExtraData = Array(unknownExtraData.prefix(most))
    return entry
  }
}
