internal import BlockLayer
internal import Primitives

/// The answer of a change of mappings in memory.
enum MappingStep<Value: Sendable>: Sendable {
  case done(Value)
  /// The slice at this offset of the file must be loaded first.
  case missing(sliceOffset: Int)
}

/// Changes of mappings in memory.
extension Tables {
  /// Gives the clusters from `guest` (aligned) on the entries that `entry` answers; nil leaves one
  /// as it is.
  ///
  /// Works to the end of a slice at most, and answers how many clusters are done. References that
  /// go are noted in `removed`.
  ///
  /// The L2 table must exist and be ours alone: see `ensureTable`.
  mutating func remap(
    _ guest: Int, _ count: Int, mayPunch: Bool = false,
    _ entry: @Sendable (_ index: Int, _ old: ExtendedL2Entry) -> ExtendedL2Entry?
  ) -> MappingStep<Int> {
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
      let old = l2.entry(first + index, of: slice)
      guard let new = entry(index, old), new != old else { continue }
      l2.store(new, at: first + index, of: slice)
      isChanged = true
      // A new stream has references of its own, even to the same cluster.
      if old.entry.isCompressed || references(of: old.entry) != references(of: new.entry) {
        note(removedBy: old.entry, mayPunch: mayPunch)
      }
    }
    if isChanged { l2.markDirty(slice) }
    return .done(done)
  }

  /// The clusters of the file in each of which an entry holds a reference.
  func references(of entry: L2Entry) -> Range<Int>? {
    if hasDataFile { return nil }
    switch entry.kind(clusterBits: geometry.clusterBits) {
    case .normal(let offset), .zeroAllocated(let offset):
      let cluster = offset.value >> geometry.clusterBits
      return cluster..<cluster + 1
    case .compressed(let descriptor):
      let touched = descriptor.touchedClusters
      return touched.lowerBound.value..<touched.upperBound.value
    case .unallocated, .zeroPlain: return nil
    }
  }

  /// Notes that an entry's references are gone; a damaged one may name metadata, which stays what
  /// it is.
  mutating func note(removedBy entry: L2Entry, mayPunch: Bool) {
    guard let clusters = references(of: entry),
      !clusters.contains(where: { metadataClusters.contains($0) })
    else { return }
    note(removed: clusters, mayPunch: mayPunch)
  }

  /// Notes that an L1 entry no longer names the table in `cluster`, likewise.
  mutating func note(removedTable cluster: Int) {
    switch metadataClusters[cluster] {
    case nil, .activeL2Table, .inactiveL2Table:
      note(removed: cluster..<cluster + 1, mayPunch: false)
    default: break
    }
  }

  /// Notes that clusters have a reference less, to be given up once that is durable.
  mutating func note(removed clusters: Range<Int>, mayPunch: Bool) {
    if let last = removed.last, last.cluster + last.count == clusters.lowerBound,
      last.mayPunch == mayPunch
    {
      removed[removed.count - 1] = RemovedReference(
        cluster: last.cluster, count: last.count + clusters.count, mayPunch: mayPunch)
    } else {
      removed.append(
        RemovedReference(
          cluster: clusters.lowerBound, count: clusters.count, mayPunch: mayPunch))
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
      throw .misalignedTable(table, l1Index: l1Index)
    }
    try checkIsTable(table, l1Index: l1Index)
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
      metadataClusters.insert(run.first, as: .activeL2Table)
      l1[l1Index] = L1Entry(l2Table: offset, isCopied: true).rawValue
      dirtyL1.insert(l1Index)
      return .done(())
    }
  }

  /// Notes that nobody else refers to the L2 table at `l1Index`.
  mutating func adoptTable(_ l1Index: Int) {
    guard let table = L1Entry(rawValue: l1[l1Index]).l2Table else { return }
    l1[l1Index] = L1Entry(l2Table: table, isCopied: true).rawValue
    dirtyL1.insert(l1Index)
  }

  /// Puts the copy of a shared table in its place.
  mutating func replaceTable(_ l1Index: Int, old: Int, new: Int) {
    l1[l1Index] = L1Entry(l2Table: HostOffset(new), isCopied: true).rawValue
    dirtyL1.insert(l1Index)
    metadataClusters.insert(new >> geometry.clusterBits, as: .activeL2Table)
    l2.drop(from: old, to: old + geometry.clusterSize)
    let cluster = old >> geometry.clusterBits
    note(removed: cluster..<cluster + 1, mayPunch: false)
  }

  /// Throws unless data may be written at `host`: inside the file, and not over metadata.
  ///
  /// In a data file everything is data.
  mutating func checkDataTarget(_ host: ByteRange) throws(BlockError) {
    if hasDataFile { return }
    guard host.upper <= highWater << geometry.clusterBits else {
      throw .corruption(
        "data cluster offset 0x\(String(host.lower, radix: 16)) is beyond the end of the file")
    }
    for cluster in host.lower >> geometry.clusterBits...(host.upper - 1) >> geometry.clusterBits {
      if let owner = metadataClusters[cluster] { throw preventWrite(over: owner, cluster: cluster) }
    }
  }
}
