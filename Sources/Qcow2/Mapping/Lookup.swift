internal import BlockLayer
internal import Primitives

/// A run of guest bytes that are stored alike.
struct MappedRun: Sendable {
  enum Kind: Sendable, Equatable {
    /// Nothing here: the backing file, or zeros. `host`: the place that a subcluster has in its
    /// cluster, if that is allocated.
    case unallocated(host: Int?)
    /// In the file, or the data file, from this offset on, in one piece. `isCopied`: nothing else
    /// refers to it.
    case data(host: Int, isCopied: Bool)
    /// Zeros. `host`: the reserved place of the run's first byte, if it has one; such runs are one
    /// cluster long or contiguous, as data is.
    case zero(host: Int?, isCopied: Bool)
    /// Compressed; one cluster at most.
    case compressed(CompressedDescriptor)
  }
  var kind: Kind
  var count: Int
}

/// The answer of a lookup in memory.
enum Lookup: Sendable {
  case run(MappedRun)
  /// The slice at this offset of the file must be loaded first.
  case missing(sliceOffset: Int)
  /// The metadata is wrong; nothing can be said.
  case corrupt(BlockError)
}

/// Where the entry of a guest cluster is.
enum EntryPlace {
  /// In no L2 table: there is none.
  case noTable
  /// At this index of a slice in memory. `isOurs`: nobody else refers to the table; where somebody
  /// does, the copied flags of its entries mean nothing.
  case found(L2Slice, index: Int, isOurs: Bool)
  /// The slice at this offset of the file must be loaded first.
  case missing(sliceOffset: Int)
  /// The L1 table is wrong.
  case corrupt(BlockError)
}

extension Tables {
  /// The run that begins at `guest`, at most `count` bytes long, as far as one slice can tell.
  mutating func lookup(_ guest: Int, _ count: Int) -> Lookup {
    let address = geometry.split(GuestOffset(guest))
    switch place(of: address) {
    case .missing(let offset): return .missing(sliceOffset: offset)
    case .corrupt(let error): return .corrupt(error)
    case .noTable:
      let toTableEnd = geometry.bytesPerL1Entry - (guest & (geometry.bytesPerL1Entry - 1))
      return .run(MappedRun(kind: .unallocated(host: nil), count: min(count, toTableEnd)))
    case .found(let slice, let index, let isOurs):
      let cursor = EntryCursor(
        slice: slice, index: index, guest: guest &- address.offsetInCluster, isOurs: isOurs)
      return geometry.hasExtendedL2
        ? subclusterRun(cursor, address.offsetInCluster, count)
        : clusterRun(cursor, address.offsetInCluster, count)
    }
  }

  /// Where the entry is that maps the cluster at `address`.
  mutating func place(of address: GuestAddress) -> EntryPlace {
    guard address.l1Index < l1.count else { return .noTable }
    let l1Entry = L1Entry(rawValue: l1[address.l1Index])
    guard let table = l1Entry.l2Table else { return .noTable }
    guard geometry.isClusterAligned(table) else {
      return .corrupt(.misalignedTable(table, l1Index: address.l1Index))
    }
    let perSlice = l2.entriesPerSlice
    let offset = table.value + address.l2Index / perSlice * l2.sliceSize
    guard let slice = slice(at: offset, of: table.value) else {
      return .missing(sliceOffset: offset)
    }
    return .found(slice, index: address.l2Index % perSlice, isOurs: l1Entry.isCopied)
  }

  /// The slice in memory; a slice of a table that is not on disk yet is made if it is missing.
  mutating func slice(at offset: Int, of table: Int) -> L2Slice? {
    if let slice = l2.slice(at: offset) { return slice }
    guard newTables.contains(table) else { return nil }
    let slice = L2Slice(offset: offset, words: Array(repeating: 0, count: l2.sliceSize / 8))
    l2.insert(slice)
    return slice
  }

  /// The run from a cluster without subclusters on.
  private func clusterRun(_ start: EntryCursor, _ offsetInCluster: Int, _ count: Int) -> Lookup {
    let clusterSize = geometry.clusterSize
    let words = start.slice.words
    let first: MappedRun.Kind
    switch kind(of: L2Entry(rawValue: words[start.index]), at: start) {
    case .success(let kind): first = kind.advanced(by: offsetInCluster)
    case .failure(let error): return .corrupt(error)
    }
    var length = clusterSize - offsetInCluster
    var next = start.next(clusterSize)
    if !first.hasHost {
      // The same entry again says the same: most of a sparse disk's tables.
      let same = words[start.index]
      let end = min(words.count, start.index + count.dividedRoundingUp(by: clusterSize))
      while next.index < end, words[next.index] == same { next = next.next(clusterSize) }
      length += (next.index - start.index - 1) * clusterSize
    }
    while length < count, next.index < words.count, !first.isCompressed,
      case .success(let kind) = kind(of: L2Entry(rawValue: words[next.index]), at: next),
      kind == first.advanced(by: length)
    {
      length += clusterSize
      next = next.next(clusterSize)
    }
    return .run(MappedRun(kind: first, count: min(length, count)))
  }

  /// What a standard entry says; a failure for one that is damaged.
  private func kind(
    of entry: L2Entry, at cursor: EntryCursor
  ) -> Result<MappedRun.Kind, BlockError> {
    let host: HostOffset
    let isZero: Bool
    switch entry.kind(clusterBits: geometry.clusterBits, hasDataFile: hasDataFile) {
    case .unallocated: return .success(.unallocated(host: nil))
    case .compressed(let descriptor):
      if hasDataFile { return .failure(.compressedInDataFile(cursor)) }
      return .success(.compressed(descriptor))
    case .zeroPlain:
      if header.header.version == .v2 { return .failure(.zeroClusterInVersion2(cursor)) }
      return .success(.zero(host: nil, isCopied: false))
    case .zeroAllocated(let offset): (host, isZero) = (offset, true)
    case .normal(let offset): (host, isZero) = (offset, false)
    }
    if let error = defect(of: host, at: cursor) { return .failure(error) }
    if isZero, header.header.version == .v2 { return .failure(.zeroClusterInVersion2(cursor)) }
    // A writer that finds reserved bits does not go by the entry: see `WriteTarget`.
    let isSound = entry.rawValue & L2Entry.reservedMask == 0
    let isCopied = isSound && (hasDataFile || (entry.isCopied && cursor.isOurs))
    return .success(
      isZero
        ? .zero(host: host.value, isCopied: isCopied) : .data(host: host.value, isCopied: isCopied))
  }

  /// What is wrong with the host cluster that an entry names.
  func defect(of host: HostOffset, at cursor: EntryCursor) -> BlockError? {
    if !geometry.isClusterAligned(host) { return .misalignedCluster(host, cursor) }
    if hasDataFile, host.value != cursor.guest { return .misplacedInDataFile(host, cursor) }
    return nil
  }
}

/// An entry of a slice, and the guest cluster that it maps.
struct EntryCursor {
  let slice: L2Slice
  let index: Int
  /// The first byte of the guest cluster.
  let guest: Int
  /// Whether nobody else refers to the table.
  let isOurs: Bool

  func next(_ clusterSize: Int) -> EntryCursor {
    EntryCursor(slice: slice, index: index + 1, guest: guest &+ clusterSize, isOurs: isOurs)
  }
}

extension MappedRun.Kind {
  /// Whether each entry of a run names another place of the file.
  var hasHost: Bool {
    switch self {
    case .unallocated(host: nil), .zero(host: nil, _): false
    case .unallocated, .data, .zero, .compressed: true
    }
  }

  /// Whether the table has nothing for the run.
  var isUnallocated: Bool { if case .unallocated = self { true } else { false } }

  /// Whether the run is a compressed cluster.
  var isCompressed: Bool { if case .compressed = self { true } else { false } }

  /// The kind of the bytes `count` further in the same run.
  func advanced(by count: Int) -> MappedRun.Kind {
    switch self {
    case .data(let host, let isCopied): .data(host: host + count, isCopied: isCopied)
    case .unallocated(let host?): .unallocated(host: host + count)
    case .zero(let host?, let isCopied): .zero(host: host + count, isCopied: isCopied)
    default: self
    }
  }
}
