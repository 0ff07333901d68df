/// A piece of an L2 table in memory: at most 4 KiB of it, so that large clusters do not make one
/// lookup read megabytes.
///
/// A slice lives under the metadata lock and never leaves it.
final class L2Slice {
  /// Where the slice stands in the file.
  let offset: Int
  /// The words of the entries, in the machine's byte order: one an entry, or two with subclusters.
  var words: [UInt64]
  /// Counts changes; a write-back that wrote an older state does not make the slice clean.
  var generation = 0
  /// Whether memory is ahead of the file.
  var isDirty = false
  /// Whether it was used since the cache's hand last passed.
  var wasUsed = true

  init(offset: Int, words: [UInt64]) {
    self.offset = offset
    self.words = words
  }

  /// The extended entry at `index` of a slice of extended entries.
  func extendedEntry(_ index: Int) -> ExtendedL2Entry {
    ExtendedL2Entry(entry: L2Entry(rawValue: words[2 * index]), bitmap: words[2 * index + 1])
  }
}

/// What a write-back writes of one slice: its state at one moment.
struct L2SliceImage: Sendable {
  let offset: Int
  let generation: Int
  let words: [UInt64]
}

/// The L2 slices in memory, bounded by a budget in bytes.
///
/// Clean slices are given up by the clock rule: a hand goes round, and takes the first that was
/// not used since it last passed. Dirty ones stay until a write-back has written them, which the
/// bound on dirty slices brings about.
struct L2Cache {
  /// The size of a slice in bytes.
  let sliceSize: Int
  /// The number of slices kept.
  let capacity: Int
  /// The words of an entry: two with subclusters.
  let wordsPerEntry: Int

  private var slices: [Int: L2Slice] = [:]
  private var ring: [L2Slice] = []
  private var hand = 0
  private var last: L2Slice?
  /// The dirty slices in the order in which they became dirty.
  private(set) var dirty: [L2Slice] = []

  init(geometry: Geometry, budgetBytes: Int) {
    sliceSize = min(geometry.clusterSize, 4096)
    capacity = max(budgetBytes / sliceSize, 16)
    wordsPerEntry = geometry.l2EntryByteCount / 8
  }

  /// The slices that are read at once at most: 64 KiB, and no great part of what is kept.
  var slicesPerLoad: Int { max(1, min((64 << 10) / sliceSize, capacity / 4)) }

  /// The number of entries of a slice.
  var entriesPerSlice: Int { sliceSize / 8 / wordsPerEntry }

  /// The entry at `index` of `slice`; a standard one has no bitmap.
  func entry(_ index: Int, of slice: L2Slice) -> ExtendedL2Entry {
    wordsPerEntry == 1
      ? ExtendedL2Entry(entry: L2Entry(rawValue: slice.words[index])) : slice.extendedEntry(index)
  }

  /// Replaces the entry at `index` of `slice`.
  func store(_ entry: ExtendedL2Entry, at index: Int, of slice: L2Slice) {
    slice.words[index * wordsPerEntry] = entry.entry.rawValue
    if wordsPerEntry == 2 { slice.words[2 * index + 1] = entry.bitmap }
  }

  /// The number of slices in memory.
  var count: Int { ring.count }

  /// The slice at `offset` of the file, if it is in memory.
  mutating func slice(at offset: Int) -> L2Slice? {
    if let last, last.offset == offset { return last }
    guard let slice = slices[offset] else { return nil }
    slice.wasUsed = true
    last = slice
    return slice
  }

  /// Takes a slice in; one that is there already stays.
  mutating func insert(_ slice: L2Slice) {
    guard slices[slice.offset] == nil else { return }
    makeRoom()
    slices[slice.offset] = slice
    ring.append(slice)
  }

  /// Notes a change of a slice in memory.
  mutating func markDirty(_ slice: L2Slice) {
    slice.generation += 1
    guard !slice.isDirty else { return }
    slice.isDirty = true
    dirty.append(slice)
  }

  /// The present state of all dirty slices, in file order.
  func images() -> [L2SliceImage] {
    dirty.sorted { $0.offset < $1.offset }.map {
      L2SliceImage(offset: $0.offset, generation: $0.generation, words: $0.words)
    }
  }

  /// Notes that `images` are in the file.
  ///
  /// Slices changed meanwhile stay dirty.
  mutating func didWrite(_ images: [L2SliceImage]) {
    for image in images {
      guard let slice = slices[image.offset], slice.generation == image.generation else { continue }
      slice.isDirty = false
    }
    dirty.removeAll { !$0.isDirty }
  }

  /// Forgets the slices of the table at `range` of the file, dirty or not: the table is no longer
  /// in use.
  mutating func drop(from lower: Int, to upper: Int) {
    for slice in ring where slice.offset >= lower && slice.offset < upper {
      slices[slice.offset] = nil
      slice.isDirty = false
    }
    ring.removeAll { $0.offset >= lower && $0.offset < upper }
    dirty.removeAll { !$0.isDirty }
    hand = 0
    last = nil
  }

  private mutating func makeRoom() {
    // Where nothing can go, a search at every insertion would cost more than all else.
    var evictable = ring.count - dirty.count
    if let last, !last.isDirty { evictable -= 1 }
    var steps = 2 * ring.count  // once round to clear marks, once more to find one
    while ring.count >= capacity, evictable > 0, steps > 0 {
      if hand >= ring.count { hand = 0 }
      let slice = ring[hand]
      if !slice.isDirty, !slice.wasUsed, slice !== last {
        slices[slice.offset] = nil
        ring.swapAt(hand, ring.count - 1)
        ring.removeLast()
        evictable -= 1
      } else {
        slice.wasUsed = false
        hand += 1
      }
      steps -= 1
    }
  }
}
