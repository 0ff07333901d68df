internal import BlockLayer
internal import Primitives

/// The answer of a change of mappings in memory.
enum MappingStep: Sendable {
  /// So many clusters are done.
  case done(Int)
  /// The slice at this offset of the file must be loaded first.
  case missing(sliceOffset: Int)
}

/// Changes of mappings in memory.
extension Tables {
  /// Gives the clusters from `guest` (aligned) on the entries that `entry` answers; nil leaves one
  /// as it is.
  ///
  /// Works to the end of a slice at most. References that go are noted in `removed`.
  ///
  /// The L2 table must exist and be ours alone: see `ensureTable`.
  mutating func remap(
    _ guest: Int, _ count: Int, mayPunch: Bool = false,
    _ entry: @Sendable (_ index: Int, _ old: L2Entry) -> L2Entry?
  ) -> MappingStep {
    let address = geometry.split(GuestOffset(guest))
    guard let table = L1Entry(rawValue: l1[address.l1Index]).l2Table else {
      preconditionFailure("mappings are changed in L2 tables that exist")
    }
    let perSlice = l2.entriesPerSlice
    let sliceOffset = table.value + address.l2Index / perSlice * l2.sliceSize
    guard let slice = slice(at: sliceOffset, of: table.value) else {
      return .missing(sliceOffset: sliceOffset)
    }
    let first = address.l2Index % perSlice
    let done = min(count, perSlice - first)
    var isChanged = false
    for index in 0..<done {
      let old = L2Entry(rawValue: slice.entries[first + index])
      guard let new = entry(index, old), new != old else { continue }
      slice.entries[first + index] = new.rawValue
      isChanged = true
      if let cluster = hostCluster(old), cluster != hostCluster(new) {
        note(removed: cluster, mayPunch: mayPunch)
      }
    }
    if isChanged { l2.markDirty(slice) }
    return .done(done)
  }

  private func hostCluster(_ entry: L2Entry) -> Int? {
    switch entry.kind(clusterBits: geometry.clusterBits) {
    case .normal(let offset), .zeroAllocated(let offset): offset.value >> geometry.clusterBits
    default: nil
    }
  }

  /// Notes that memory has one reference less to a cluster.
  mutating func note(removed cluster: Int, mayPunch: Bool) {
    if let last = removed.last, last.cluster + last.count == cluster, last.mayPunch == mayPunch {
      removed[removed.count - 1] = RemovedReference(
        cluster: last.cluster, count: last.count + 1, mayPunch: mayPunch)
    } else {
      removed.append(RemovedReference(cluster: cluster, count: 1, mayPunch: mayPunch))
    }
  }

  /// What the L2 table at `l1Index` is to a writer.
  enum TableState: Sendable {
    case writable
    case absent
    /// Others refer to it too; it is at this offset.
    case shared(Int)
  }

  func tableState(_ l1Index: Int) throws(BlockError) -> TableState {
    guard l1Index < l1.count else {
      throw .corruption("the L1 table ends before the disk does (L1 index \(l1Index))")
    }
    let entry = L1Entry(rawValue: l1[l1Index])
    guard let table = entry.l2Table else { return .absent }
    guard geometry.isClusterAligned(table) else {
      throw .corruption(
        "L2 table offset 0x\(String(table.value, radix: 16)) unaligned "
          + "(L1 index: 0x\(String(l1Index, radix: 16)))")
    }
    return entry.isCopied ? .writable : .shared(table.value)
  }

  /// Makes an empty L2 table at `l1Index`, if there is none.
  mutating func addTable(_ l1Index: Int) throws(BlockError) -> RefcountStep<Void> {
    guard case .absent = try tableState(l1Index) else { return .done(()) }
    switch try allocate(1) {
    case .missing(let tableIndex): return .missing(tableIndex: tableIndex)
    case .done(let run):
      let offset = HostOffset(run.first << geometry.clusterBits)
      newTables.insert(offset.value)
      metadataClusters.insert(run.first)
      l1[l1Index] = L1Entry(l2Table: offset, isCopied: true).rawValue
      dirtyL1.insert(l1Index)
      return .done(())
    }
  }

  /// Puts the copy of a shared table in its place.
  mutating func replaceTable(_ l1Index: Int, old: Int, new: Int) {
    l1[l1Index] = L1Entry(l2Table: HostOffset(new), isCopied: true).rawValue
    dirtyL1.insert(l1Index)
    metadataClusters.insert(new >> geometry.clusterBits)
    l2.drop(from: old, to: old + geometry.clusterSize)
    note(removed: old >> geometry.clusterBits, mayPunch: false)
  }

  /// Throws unless data may be written at `host`: inside the file, and not over metadata.
  mutating func checkDataTarget(_ host: ByteRange) throws(BlockError) {
    guard host.upper <= highWater << geometry.clusterBits else {
      throw .corruption(
        "data cluster offset 0x\(String(host.lower, radix: 16)) is beyond the end of the file")
    }
    for cluster in host.lower >> geometry.clusterBits...(host.upper - 1) >> geometry.clusterBits
    where metadataClusters.contains(cluster) {
      let error = BlockError.corruption(
        "Preventing invalid write on metadata (cluster \(cluster) is mapped as data)")
      poison = error
      throw error
    }
  }
}
