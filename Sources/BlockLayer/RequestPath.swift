internal import Execution
public import Primitives
internal import Synchronization
internal import SystemPackage

/// A request's way through a node: read-only and bounds, zero detection, shaping to what the driver
/// takes (`RequestShaping`), then the driver; on the way out, the bitmaps.
///
/// A node is more lenient than a backend: reading beyond its end gives zeros, as a format's tables
/// may end in the middle of the file's last cluster.
extension BlockNode {
  /// Reads the bytes of `range` into `buffer`, which has its length.
  ///
  /// Bytes beyond the node's end read as zeros.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    precondition(buffer.byteCount == range.count, "a buffer has its request's length")
    let length = driver.length
    if range.upper <= length {
      try await readInside(range, &buffer)
      return
    }
    let inside = range.intersection(ByteRange(0, max(length, range.lower)))
    if !inside.isEmpty {
      var head = buffer.slice(ByteRange(0, inside.count))
      try await readInside(inside, &head)
    }
    buffer.fill(ByteRange(inside.count, range.count), with: 0)
  }

  /// Writes `bytes`, which have the length of `range`.
  ///
  /// Whether or not it fails, every recording bitmap has the range set afterwards. With
  /// `forceUnitAccess` the bytes are durable when it returns.
  public func write(
    _ range: ByteRange, from bytes: RawSpan, forceUnitAccess: Bool = false
  ) async throws(BlockError) {
    precondition(bytes.byteCount == range.count, "a buffer has its request's length")
    guard !range.isEmpty else { return }
    try checkWritable(range)
    if options.detectZeroes != .off, bytes.isZero {
      try await writeZeroes(
        range, mayUnmap: options.detectZeroes == .unmap, forceUnitAccess: forceUnitAccess)
      return
    }
    defer { didWrite(range) }
    do {
      if takesAsItIs(range) {
        try await driver.write(range, from: bytes)
        if forceUnitAccess { try await flushWithin() }
      } else {
        try await writeShaped(range, bytes, forceUnitAccess: forceUnitAccess)
      }
    } catch {
      throw error.at(node: name, range)
    }
  }

  /// Makes `range` read as zeros, by the driver's own means or by writing zeros.
  ///
  /// `mayUnmap` allows giving up the space; without `mayFallBack` it throws `unsupported` where the
  /// driver has no better way than data. With `forceUnitAccess` the zeros are durable when it
  /// returns.
  public func writeZeroes(
    _ range: ByteRange, mayUnmap: Bool = false, mayFallBack: Bool = true,
    forceUnitAccess: Bool = false
  ) async throws(BlockError) {
    guard !range.isEmpty else { return }
    try checkWritable(range)
    defer { didWrite(range) }
    do {
      try await zeroShaped(
        range, mayUnmap: mayUnmap && options.discard == .unmap, mayFallBack: mayFallBack,
        forceUnitAccess: forceUnitAccess)
    } catch {
      throw error.at(node: name, range)
    }
  }

  /// Tells that `range` is no longer needed.
  ///
  /// Nothing happens where the node ignores discards, and to the parts that fill no whole unit of
  /// the driver.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    guard !range.isEmpty else { return }
    try checkWritable(range)
    guard options.discard == .unmap else { return }
    defer { didWrite(range) }
    do {
      try await discardShaped(range)
    } catch {
      throw error.at(node: name, range)
    }
  }

  /// Makes every write that has completed durable: the driver writes back what it caches, then the
  /// nodes below and the host follow.
  ///
  /// Costs nothing when nothing was written since the last. When the driver fails to make writes
  /// durable, the node is *poisoned*: it reads, and refuses everything else.
  public func flush() async throws(BlockError) {
    guard !isReadOnly else { return }
    try checkHealthy()
    let written = writes.load(ordering: .acquiring)
    await primary?.raise(.flushToOS)
    try await driver.writeBack()
    if !options.ignoresFlush, written != flushedWrites.load(ordering: .acquiring) {
      await primary?.raise(.flushToDisk)
      do {
        try await driver.sync()
      } catch {
        #if !MUTANT_FAILED_FLUSH_FORGOTTEN
        poison(error)
        #endif
        throw error.at(node: name)
      }
    }
    // Not what shows through, and not a backup: its job flushes that, and no guest waits for it.
    for edge in driver.children where edge.role != .backing && edge.role != .target {
      try await edge.node.flush()
    }
    flushedWrites.store(written, ordering: .releasing)
  }

  /// The flush with which a write under way becomes durable.
  ///
  /// The write counts only when it is over. So `flush_to_disk` is raised for those before it, as
  /// QEMU does it; what lies below has its own count, and is synced. A driver with nothing below is
  /// told of this write first, or its bytes would not be.
  func flushWithin() async throws(BlockError) {
    if driver.children.isEmpty { writes.add(1, ordering: .releasing) }
    try await flush()
  }

  /// Tells the node's own driver of an event, if it listens.
  public func raise(_ event: DebugEvent) async {
    if let eventSink { await eventSink.raise(event) }
  }

  // MARK: - On the way in and out

  private func readInside(
    _ range: ByteRange, _ buffer: inout MutableRawSpan
  ) async throws(BlockError) {
    do {
      if isAligned(range), range.count <= limits.maxTransfer {
        try await driver.read(range, into: &buffer)
      } else {
        try await readShaped(range, &buffer)
      }
    } catch {
      throw error.at(node: name, range)
    }
  }

  func checkWritable(_ range: ByteRange) throws(BlockError) {
    guard !isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: name, range: range)
    }
    try checkHealthy()
    guard range.upper <= length || limits.growsOnWrite else {
      throw BlockError(
        .outOfRange, "the request ends beyond the node's \(length) bytes", node: name, range: range)
    }
    guard !bitmaps.hasReadOnly else {
      throw BlockError(
        .readOnly, "the node has read-only bitmaps that could not record the write",
        errno: .notPermitted, node: name, range: range)
    }
  }

  func didWrite(_ range: ByteRange) {
    writes.add(1, ordering: .releasing)
    bitmaps.record(blocks(around: range), nodeLength: driver.length)
  }
}
