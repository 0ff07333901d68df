internal import Primitives

/// A refcount block in memory.
///
/// It lives under the metadata lock and never leaves it.
final class CachedRefcountBlock {
  /// Its index in the refcount table.
  let tableIndex: Int
  /// Where it stands in the file.
  let offset: Int
  /// The block as it is on disk.
  var bytes: [UInt8]
  var generation = 0
  var isDirty = false
  var wasUsed = true

  init(tableIndex: Int, offset: Int, bytes: [UInt8]) {
    self.tableIndex = tableIndex
    self.offset = offset
    self.bytes = bytes
  }
}

/// What a write-back writes of one block: its state at one moment.
struct RefcountBlockImage: Sendable {
  let tableIndex: Int
  let offset: Int
  let generation: Int
  let bytes: [UInt8]
}

/// The refcount blocks in memory, bounded by a budget in bytes; dirty ones stay until written.
struct RefcountCache {
  let capacity: Int
  private var blocks: [Int: CachedRefcountBlock] = [:]
  private var ring: [CachedRefcountBlock] = []
  private var hand = 0
  /// The number of dirty blocks.
  private(set) var dirtyCount = 0

  init(clusterSize: Int, budgetBytes: Int) {
    capacity = max(budgetBytes / clusterSize, 8)
  }

  /// The block at `tableIndex` of the refcount table, if it is in memory.
  func block(_ tableIndex: Int) -> CachedRefcountBlock? {
    guard let block = blocks[tableIndex] else { return nil }
    block.wasUsed = true
    return block
  }

  /// Takes a block in; one that is there already stays.
  mutating func insert(_ block: CachedRefcountBlock) {
    guard blocks[block.tableIndex] == nil else { return }
    makeRoom()
    blocks[block.tableIndex] = block
    ring.append(block)
    if block.isDirty { dirtyCount += 1 }
  }

  /// Notes a change of a block in memory.
  mutating func markDirty(_ block: CachedRefcountBlock) {
    block.generation += 1
    guard !block.isDirty else { return }
    block.isDirty = true
    dirtyCount += 1
  }

  /// The present state of all dirty blocks, in table order.
  func images() -> [RefcountBlockImage] {
    ring.filter(\.isDirty).sorted { $0.tableIndex < $1.tableIndex }.map {
      RefcountBlockImage(
        tableIndex: $0.tableIndex, offset: $0.offset, generation: $0.generation, bytes: $0.bytes)
    }
  }

  /// Notes that `images` are in the file.
  ///
  /// Blocks changed meanwhile stay dirty.
  mutating func didWrite(_ images: [RefcountBlockImage]) {
    for image in images {
      guard let block = blocks[image.tableIndex], block.generation == image.generation,
        block.isDirty
      else { continue }
      block.isDirty = false
      dirtyCount -= 1
    }
  }

  /// Forgets a block that is no longer in use.
  mutating func drop(_ tableIndex: Int) {
    guard let block = blocks.removeValue(forKey: tableIndex) else { return }
    if block.isDirty { dirtyCount -= 1 }
    ring.removeAll { $0 === block }
    hand = 0
  }

  private mutating func makeRoom() {
    var steps = 2 * ring.count
    while ring.count >= capacity, dirtyCount < ring.count, steps > 0 {
      if hand >= ring.count { hand = 0 }
      let block = ring[hand]
      if !block.isDirty, !block.wasUsed {
        blocks[block.tableIndex] = nil
        ring.swapAt(hand, ring.count - 1)
        ring.removeLast()
      } else {
        block.wasUsed = false
        hand += 1
      }
      steps -= 1
    }
  }
}
