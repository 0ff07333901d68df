internal import BlockLayer
internal import Primitives

/// A run of guest bytes that are stored alike.
struct MappedRun: Sendable {
  enum Kind: Sendable, Equatable {
    /// Nothing here: the backing file, or zeros.
    case unallocated
    /// In the file, from this offset on, in one piece. `isCopied`: nothing else refers to it.
    case data(host: Int, isCopied: Bool)
    /// Zeros. `host`: the reserved cluster of the run's first cluster, if it has one; such runs are
    /// one cluster long or contiguous, as data is.
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

extension Tables {
  /// The run that begins at `guest`, at most `count` bytes long, as far as one slice can tell.
  mutating func lookup(_ guest: Int, _ count: Int) -> Lookup {
    let address = geometry.split(GuestOffset(guest))
    let toTableEnd = geometry.bytesPerL1Entry - (guest & (geometry.bytesPerL1Entry - 1))
    guard address.l1Index < l1.count,
      let table = L1Entry(rawValue: l1[address.l1Index]).l2Table
    else {
      return .run(MappedRun(kind: .unallocated, count: min(count, toTableEnd)))
    }
    guard geometry.isClusterAligned(table) else {
      return .corrupt(
        .corruption(
          "L2 table offset 0x\(String(table.value, radix: 16)) unaligned "
            + "(L1 index: 0x\(String(address.l1Index, radix: 16)))"))
    }
    let perSlice = l2.entriesPerSlice
    let sliceOffset = table.value + address.l2Index / perSlice * l2.sliceSize
    guard let slice = slice(at: sliceOffset, of: table.value) else {
      return .missing(sliceOffset: sliceOffset)
    }
    return run(in: slice, from: address.l2Index % perSlice, address.offsetInCluster, count)
  }

  /// The slice in memory; a slice of a table that is not on disk yet is made if it is missing.
  mutating func slice(at offset: Int, of table: Int) -> L2Slice? {
    if let slice = l2.slice(at: offset) { return slice }
    guard newTables.contains(table) else { return nil }
    let slice = L2Slice(offset: offset, entries: Array(repeating: 0, count: l2.entriesPerSlice))
    l2.insert(slice)
    return slice
  }

  private func run(
    in slice: L2Slice, from index: Int, _ offsetInCluster: Int, _ count: Int
  ) -> Lookup {
    let clusterSize = geometry.clusterSize
    let first: MappedRun.Kind
    switch kind(of: slice.entries[index], index, slice) {
    case .success(let kind): first = kind.advanced(by: offsetInCluster)
    case .failure(let error): return .corrupt(error)
    }
    var length = clusterSize - offsetInCluster
    var next = index + 1
    if !first.hasHost {
      // The same entry again says the same: most of a sparse disk's tables.
      let entries = slice.entries
      let same = entries[index]
      let end = min(entries.count, index + count.dividedRoundingUp(by: clusterSize))
      while next < end, entries[next] == same { next += 1 }
      length += (next - index - 1) * clusterSize
    }
    while length < count, next < slice.entries.count, !first.isCompressed,
      case .success(let kind) = kind(of: slice.entries[next], next, slice),
      kind == first.advanced(by: length)
    {
      length += clusterSize
      next += 1
    }
    return .run(MappedRun(kind: first, count: min(length, count)))
  }

  private func kind(
    of rawValue: UInt64, _ index: Int, _ slice: L2Slice
  ) -> Result<MappedRun.Kind, BlockError> {
    let entry = L2Entry(rawValue: rawValue)
    let host: HostOffset
    let kind: MappedRun.Kind
    switch entry.kind(clusterBits: geometry.clusterBits) {
    case .unallocated: return .success(.unallocated)
    case .compressed(let descriptor): return .success(.compressed(descriptor))
    case .zeroPlain:
      host = .zero
      kind = .zero(host: nil, isCopied: false)
    case .zeroAllocated(let offset):
      host = offset
      kind = .zero(host: offset.value, isCopied: entry.isCopied)
    case .normal(let offset):
      host = offset
      kind = .data(host: offset.value, isCopied: entry.isCopied)
    }
    guard geometry.isClusterAligned(host) else {
      return .failure(
        .corruption(
          "Cluster allocation offset 0x\(String(host.value, radix: 16)) unaligned "
            + "(L2 offset: 0x\(String(slice.offset, radix: 16)), "
            + "L2 index: 0x\(String(index, radix: 16)))"))
    }
    if header.header.version == .v2, case .zero = kind {
      return .failure(
        .corruption(
          "Zero cluster entry found in pre-v3 image (L2 offset: "
            + "0x\(String(slice.offset, radix: 16)), L2 index: 0x\(String(index, radix: 16)))"))
    }
    return .success(kind)
  }
}

extension MappedRun.Kind {
  /// Whether each entry of a run names another place of the file.
  fileprivate var hasHost: Bool {
    switch self {
    case .unallocated, .zero(host: nil, _): false
    case .data, .zero, .compressed: true
    }
  }

  /// Whether the run is a compressed cluster.
  var isCompressed: Bool { if case .compressed = self { true } else { false } }

  /// The kind of the bytes `count` further in the same run.
  func advanced(by count: Int) -> MappedRun.Kind {
    switch self {
    case .data(let host, let isCopied): .data(host: host + count, isCopied: isCopied)
    case .zero(let host?, let isCopied): .zero(host: host + count, isCopied: isCopied)
    default: self
    }
  }
}
