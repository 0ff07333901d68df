public import BlockLayer
public import Primitives

extension Qcow2Driver {
  /// Reads the bytes of `range`: mapped ones from the file, others from the backing node or zeros.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try checkServesGuest()
    var done = 0
    while done < range.count {
      let guest = range.lower + done
      let (run, ticket) = try await enterRun(guest, range.count - done)
      defer { epochs.leave(ticket) }
      var part = buffer.slice(ByteRange(offset: done, count: run.count))
      switch run.kind {
      case .data(let host, _):
        await raise(.readAio)
        let bytes = ByteRange(offset: host, count: run.count)
        try await dataNode.read(bytes, into: &part)
      case .zero: part.fill(with: 0)
      case .unallocated: try await readBacking(guest, &part)
      case .compressed(let descriptor):
        try await readCompressed(
          descriptor, from: guest & (geometry.clusterSize - 1), into: &part)
      }
      done += run.count
    }
  }

  /// Reads what shows through: the backing node as far as it reaches, zeros behind.
  private func readBacking(_ guest: Int, _ part: inout MutableRawSpan) async throws(BlockError) {
    guard let backing = backing?.node else {
      part.fill(with: 0)
      return
    }
    let inside = ByteRange(offset: guest, count: part.byteCount)
      .intersection(ByteRange(0, max(backing.length, guest)))
    if !inside.isEmpty {
      await raise(.readBackingAio)
      var head = part.slice(ByteRange(0, inside.count))
      try await backing.read(inside, into: &head)
    }
    part.fill(ByteRange(inside.count, part.byteCount), with: 0)
  }

  /// What the bytes from `range.lower` are in this image, without a look at its backing node.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try checkServesGuest()
    var status = try await status(at: range.lower, range.count)
    // Runs end at slices and tables; answers should not. But who asks for an image's rest again and
    // again, as long as another image beside it has short runs, must not make us walk all of it.
    var steps = 1
    while status.count < range.count, steps < Qcow2Limits.statusSteps {
      steps += 1
      let next = try await self.status(at: range.lower + status.count, range.count - status.count)
      guard continues(status, next) else { break }
      status.count += next.count
    }
    if status.isData, status.offset != nil { status.mayRecurse = try await mayHaveHoles() }
    return status
  }

  private func status(at guest: Int, _ count: Int) async throws(BlockError) -> BlockStatus {
    let run = try await lookUp(guest, count)
    return switch run.kind {
    case .unallocated(let host): BlockStatus(count: run.count, offset: host)
    case .data(let host, _):
      BlockStatus(count: run.count, isAllocated: true, isData: true, offset: host)
    case .zero(let host, _):
      BlockStatus(count: run.count, isAllocated: true, isZero: true, offset: host)
    case .compressed:
      BlockStatus(count: run.count, isAllocated: true, isData: true, isCompressed: true)
    }
  }

  private func continues(_ one: BlockStatus, _ next: BlockStatus) -> Bool {
    var expected = one
    expected.count = next.count
    expected.offset = one.offset.map { $0 + one.count }
    return expected == next && !one.isCompressed
  }
}
