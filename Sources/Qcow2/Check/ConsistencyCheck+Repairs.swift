internal import BlockLayer
internal import Primitives

/// What a walk leaves to be repaired by more than a change of single entries.
struct RepairNeeds {
  /// Something was written that must be durable before refcounts fall.
  var flush = false
  /// The refcount table or a block is missing or damaged.
  var rebuild = false
  /// The bitmap directory cannot be read.
  var bitmapsGone = false
  /// What the snapshot table should have; nil where it is as it should be.
  var snapshots: [SnapshotTableEntry]?
  /// What that puts right.
  var snapshotFindings: [CheckFinding] = []
  /// Whether snapshots are missing from that: what they refer to was not counted.
  var dropsSnapshots = false

  /// Whether meeting the needs takes something away that a user put there; nil if it does not.
  var loss: String? {
    if bitmapsGone { return "its bitmaps" }
    if dropsSnapshots { return "snapshots" }
    let cutsExtraData = snapshotFindings.contains { finding in
      if case .snapshotExtraData = finding { true } else { false }
    }
    return cutsExtraData ? "extra data of snapshots" : nil
  }
}

extension ConsistencyCheck {
  /// Writes the start of `buffer` to `range`.
  func write(_ range: ByteRange, _ buffer: borrowing IOBuffer) async throws(CheckStop) {
    do throws(BlockError) {
      try await node.write(range, from: buffer.bytes.slice(ByteRange(0, range.count)))
    } catch {
      throw .writing(error)
    }
  }

  func flush() async throws(CheckStop) {
    do throws(BlockError) { try await node.flush() } catch { throw .writing(error) }
  }

  /// Whether clusters without a reference may be freed.
  ///
  /// Only where every reference was followed: behind one that was not, anything may be in use. This
  /// is stricter than QEMU, which frees what it could not see.
  var mayFree: Bool { repair != nil && isEverythingKnown && !needs.dropsSnapshots && !isCutShort }
}
