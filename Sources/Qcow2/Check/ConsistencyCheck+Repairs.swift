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
