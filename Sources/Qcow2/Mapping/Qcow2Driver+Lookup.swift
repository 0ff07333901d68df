internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Lookups that may have to load a slice first.
extension Qcow2Driver {
  /// The run that begins at `guest`; the request enters the present epoch with it and has to leave
  /// it when its I/O is over.
  func enterRun(_ guest: Int, _ count: Int) async throws(BlockError)
    -> (run: MappedRun, ticket: RequestEpochs.Ticket)
  {
    while true {
      let (answer, ticket) = tables.withLock { tables in
        (tables.lookup(guest, count), epochs.enter())
      }
      if case .run(let run) = answer { return (run, ticket) }
      epochs.leave(ticket)
      try await resolve(answer, guest, count)
    }
  }

  /// The run that begins at `guest`, for those who do no I/O on it.
  func lookUp(_ guest: Int, _ count: Int) async throws(BlockError) -> MappedRun {
    while true {
      let answer = tables.withLock { $0.lookup(guest, count) }
      if case .run(let run) = answer { return run }
      try await resolve(answer, guest, count)
    }
  }

  private func resolve(_ answer: Lookup, _ guest: Int, _ count: Int) async throws(BlockError) {
    switch answer {
    case .run: break
    case .missing(let offset): try await loadSlices(offset, guest, count)
    case .corrupt(let error): throw error.at(node: file.node.name, nil)
    }
  }

  /// Brings the slice at `offset`, of the L2 table that maps `guest`, into memory; with it those
  /// that follow in the table, as far as they map `count` bytes from `guest` on.
  ///
  /// So who walks over an image reads its tables in large pieces.
  func loadSlices(_ offset: Int, _ guest: Int, _ count: Int) async throws(BlockError) {
    let (size, most) = tables.withLock { ($0.l2.sliceSize, $0.l2.slicesPerLoad) }
    let bytesPerSlice = size / geometry.l2EntryByteCount * geometry.clusterSize
    let tableStart = offset.roundedDown(to: geometry.clusterSize)
    let wanted = (guest % bytesPerSlice + count).dividedRoundingUp(by: bytesPerSlice)
    let toTableEnd = (tableStart + geometry.clusterSize - offset) / size
    let range = ByteRange(offset: offset, count: max(1, min(wanted, most, toTableEnd)) * size)
    // One loader a slice. While it holds this lock no slice that is missing can come in otherwise,
    // so none can have been changed, written and given up between our read and our insertion.
    try await loads.withLock(range) { () async throws(BlockError) in
      let missing = tables.withLock { tables in
        stride(from: range.lower, to: range.upper, by: size).filter {
          tables.l2.slice(at: $0) == nil
        }
      }
      // Somebody else brought it; what else is missing is not wanted yet.
      guard missing.first == offset else { return }
      let node = file.node
      guard range.lower < node.length else {
        throw .corruption(
          "L2 table at 0x\(String(offset, radix: 16)) is outside the file of \(node.length) bytes")
      }
      await raise(.l2Load)
      var buffer = IOBuffer(byteCount: range.count)
      var bytes = buffer.mutableBytes
      try await node.read(range, into: &bytes)
      var slices: [(offset: Int, words: [UInt64])] = []
      for place in missing {
        let part = bytes.bytes.slice(ByteRange(offset: place - offset, count: size))
        slices.append((place, decodeTable(part)))
      }
      tables.withLock { tables in
        // The table may have been replaced while we read it.
        let l1Index = geometry.split(GuestOffset(guest)).l1Index
        guard l1Index < tables.l1.count,
          let table = L1Entry(rawValue: tables.l1[l1Index]).l2Table?.value,
          offset >= table, offset < table + geometry.clusterSize
        else { return }
        // The one that was asked for last: that it stays is sure.
        for slice in slices.reversed() {
          tables.l2.insert(L2Slice(offset: slice.offset, words: slice.words))
        }
      }
    }
  }
}

/// The 8-byte big-endian entries of a table.
func decodeTable(_ bytes: RawSpan) -> [UInt64] {
  let count = bytes.byteCount / 8
  var entries: [UInt64] = []
  entries.reserveCapacity(count)
  for index in 0..<count { entries.append(bytes.bigEndian(UInt64.self, at: index * 8)) }
  return entries
}

/// The bytes of a table of 8-byte big-endian entries.
func encodeTable(_ entries: some RandomAccessCollection<UInt64>) -> [UInt8] {
  var bytes: [UInt8] = []
  bytes.reserveCapacity(entries.count * 8)
  for entry in entries {
    for shift in stride(from: 56, through: 0, by: -8) {
      bytes.append(UInt8(truncatingIfNeeded: entry >> UInt64(shift)))
    }
  }
  return bytes
}
