internal import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// Steps on refcounts that may have to load blocks first.
extension Qcow2Driver {
  /// Runs `step` under the lock; loads what it says is missing, and runs it again.
  func withRefcounts<Value: Sendable>(
    _ step: (inout Tables) throws(BlockError) -> RefcountStep<Value>
  ) async throws(BlockError) -> Value {
    while true {
      let answer = try tables.withLock { tables throws(BlockError) in try step(&tables) }
      switch answer {
      case .done(let value): return value
      case .missing(let tableIndex): try await loadRefcountBlock(tableIndex)
      }
    }
  }

  /// Takes free clusters: as many as follow each other, at most `count`.
  func allocate(_ count: Int, minimum: Int = 1) async throws(BlockError)
    -> ClusterRun
  {
    await raise(.clusterAlloc)
    await raise(.refblockAlloc)
    var position = 0
    return try await withRefcounts { tables throws(BlockError) in
      try tables.allocate(count, minimum: minimum, from: &position)
    }
  }

  /// Gives clusters back that nothing ever referred to.
  func giveBack(_ first: Int, _ count: Int) async throws(BlockError) {
    try await withRefcounts { tables throws(BlockError) in
      try tables.change(first, count, by: -1)
    }
  }

  private func loadRefcountBlock(_ tableIndex: Int) async throws(BlockError) {
    let offset = try tables.withLock { tables throws(BlockError) in
      try tables.blockOffset(tableIndex)
    }
    let range = ByteRange(offset: offset, count: geometry.clusterSize)
    try await loads.withLock(range) { () async throws(BlockError) in
      let isLoaded = tables.withLock { $0.refcounts.block(tableIndex) != nil }
      if isLoaded || offset == 0 { return }
      let node = file.node
      guard range.lower < node.length else {
        throw .corruption("refcount block 0x\(String(offset, radix: 16)) is outside the file")
      }
      await raise(.refblockLoad)
      var buffer = IOBuffer(byteCount: range.count)
      var bytes = buffer.mutableBytes
      try await node.read(range, into: &bytes)
      let array = bytes.bytes.toArray()
      tables.withLock { tables in
        tables.refcounts.insert(
          CachedRefcountBlock(tableIndex: tableIndex, offset: offset, bytes: array))
      }
    }
  }
}
