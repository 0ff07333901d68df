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
      try await resolve(answer, guest)
    }
  }

  /// The run that begins at `guest`, for those who do no I/O on it.
  func lookUp(_ guest: Int, _ count: Int) async throws(BlockError) -> MappedRun {
    while true {
      let answer = tables.withLock { $0.lookup(guest, count) }
      if case .run(let run) = answer { return run }
      try await resolve(answer, guest)
    }
  }

  private func resolve(_ answer: Lookup, _ guest: Int) async throws(BlockError) {
    switch answer {
    case .run: break
    case .missing(let offset): try await loadSlice(offset, guest)
    case .corrupt(let error): throw error.at(node: file.node.name, nil)
    }
  }

  /// Brings a slice of the L2 table that maps `guest` into memory.
  func loadSlice(_ offset: Int, _ guest: Int) async throws(BlockError) {
    let size = tables.withLock { $0.l2.sliceSize }
    let range = ByteRange(offset: offset, count: size)
    // One loader a slice. While it holds this lock the slice cannot come in otherwise, so it
    // cannot have been changed, written and given up between our read and our insertion.
    try await loads.withLock(range) { () async throws(BlockError) in
      if tables.withLock({ $0.l2.slice(at: offset) != nil }) { return }
      let node = file.node
      guard range.lower < node.length else {
        throw .corruption(
          "L2 table at 0x\(String(offset, radix: 16)) is outside the file of \(node.length) bytes")
      }
      await raise(.l2Load)
      var buffer = IOBuffer(byteCount: size)
      var bytes = buffer.mutableBytes
      try await node.read(range, into: &bytes)
      let entries = decodeTable(bytes.bytes)
      tables.withLock { tables in
        // The table may have been replaced while we read it.
        let l1Index = geometry.split(GuestOffset(guest)).l1Index
        guard l1Index < tables.l1.count,
          let table = L1Entry(rawValue: tables.l1[l1Index]).l2Table?.value,
          offset >= table, offset < table + geometry.clusterSize
        else { return }
        tables.l2.insert(L2Slice(offset: offset, entries: entries))
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
