public import BlockLayer
internal import Execution
public import Primitives
internal import Synchronization

/// Compressed writes.
extension Qcow2Driver: CompressingImage {
  /// Writes the clusters of `range`, compressed where that makes them smaller.
  ///
  /// Clusters of zeros become that where the format can say so, and those that do not become
  /// smaller are written plain. Data and refcounts come before the mapping, as in other writes.
  public func writeCompressed(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    do {
      try await compressAll(range, bytes)
    } catch {
      await noteCorruption(error)
      throw error
    }
  }

  private func compressAll(_ range: ByteRange, _ bytes: RawSpan) async throws(BlockError) {
    try checkCompressing()
    let longest = max(
      Qcow2Limits.compressionBatch, Qcow2Limits.compressionBatchClusters * geometry.clusterSize)
    var done = 0
    while done < range.count {
      try await prepareForChanges()
      let batch = range.dropFirst(done).prefix(longest)
      let part = bytes.slice(ByteRange(offset: done, count: batch.count))
      var rest = batch
      for cluster in try await codec.compressedClusters(part) {
        let piece = rest.prefix(geometry.clusterSize)
        try await store(cluster, at: piece, part.slice(piece.relative(to: batch.lower)))
        rest = rest.dropFirst(piece.count)
      }
      done += batch.count
    }
  }

  /// Throws where the format or its readers cannot have compressed clusters.
  private func checkCompressing() throws(BlockError) {
    let header = tables.withLock { $0.header.header }
    if header.encryptionMethod != .none {
      throw BlockError(
        .unsupported, "Compression and encryption not supported at the same time")
    }
    if dataFile != nil {
      throw BlockError(
        .unsupported, "an image with an external data file cannot have compressed clusters")
    }
  }

  /// Stores the guest cluster at `range`, whose bytes are `bytes`, as what it was compressed to.
  private func store(
    _ cluster: CompressedCluster, at range: ByteRange, _ bytes: RawSpan
  ) async throws(BlockError) {
    switch cluster {
    case .zeros where version == .v3 || backing == nil:
      try await writeZeroes(range, mayUnmap: true)
    case .stream(let stream):
      if try await !store(stream, at: range) { try await write(range, from: bytes) }
    case .zeros, .plain:
      try await write(range, from: bytes)
    }
  }

  /// Stores a stream and maps the guest cluster at `range` to it; says no where there is no place
  /// for it that a descriptor reaches.
  private func store(_ stream: [UInt8], at range: ByteRange) async throws(BlockError) -> Bool {
    let cluster = range.roundedOut(to: geometry.clusterSize)
    return try await allocationLocks.withLock(cluster) { () async throws(BlockError) in
      try await ensureTable(geometry.split(GuestOffset(cluster.lower)).l1Index)
      guard let descriptor = try await append(stream) else { return false }
      do throws(BlockError) {
        await raise(.l2UpdateCompressed)
        _ = try await remap(cluster.lower, 1) { (_, _) in
          ExtendedL2Entry(entry: .compressed(descriptor))
        }
      } catch {
        try? await giveBack(descriptor)
        throw error
      }
      return true
    }
  }

  /// Takes a place for a stream and writes it there, with zeros behind it to the end of its last
  /// sector.
  ///
  /// One at a time: streams share sectors, and the next one's place is where those zeros are. What
  /// takes long was done before.
  private func append(_ stream: [UInt8]) async throws(BlockError) -> CompressedDescriptor? {
    try await appendingStreams.withLock { () async throws(BlockError) in
      await raise(.clusterAllocBytes)
      let place = try await withRefcounts { tables throws(BlockError) in
        try tables.placeStream(stream.count)
      }
      guard let place else { return nil }
      let range = place.readableRange
      let padded = stream + [UInt8](repeating: 0, count: range.count - stream.count)
      do throws(BlockError) {
        await raise(.writeCompressed)
        try await file.node.write(range, from: padded.span.bytes)
      } catch {
        try? await giveBack(place)
        throw error
      }
      return place
    }
  }

  /// Gives back a place that nothing ever referred to.
  private func giveBack(_ descriptor: CompressedDescriptor) async throws(BlockError) {
    let clusters = descriptor.touchedClusters
    try await giveBack(
      clusters.lowerBound.value, clusters.upperBound.value - clusters.lowerBound.value)
  }
}
