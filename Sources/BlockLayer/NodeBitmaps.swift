public import DirtyBitmap
internal import Primitives
internal import Synchronization

/// The dirty bitmaps of one node, newest first, as queries list them.
///
/// Every write, write-zeroes and discard that reached the driver is recorded in each of them that
/// records, whether or not it succeeded.
public final class NodeBitmaps: Sendable {
  private let node: String
  private let state: Mutex<State>
  /// The number of bitmaps and of read-only ones: a write to a node without any pays one load.
  private let counts = Atomic<UInt64>(0)

  private struct State {
    var bitmaps: [DirtyBitmap] = []
    var length: Int

    /// A bitmap that cannot follow has lost track.
    mutating func follow(_ nodeLength: Int) {
      guard nodeLength != length else { return }
      length = nodeLength
      for bitmap in bitmaps {
        do { try bitmap.resize(to: nodeLength) } catch { bitmap.markInconsistent() }
      }
    }
  }

  init(node: String, length: Int) {
    self.node = node
    state = Mutex(State(length: length))
  }

  /// All bitmaps, newest first, nameless internal ones among them.
  public var all: [DirtyBitmap] { state.withLock { $0.bitmaps } }

  /// The bitmap of that name.
  public func find(_ name: String) -> DirtyBitmap? {
    state.withLock { state in state.bitmaps.first { $0.name == name } }
  }

  /// The bitmap of that name; throws `notFound` with QEMU's text.
  public func named(_ name: String) throws(BlockError) -> DirtyBitmap {
    guard let bitmap = find(name) else {
      throw BlockError(.notFound, "Dirty bitmap '\(name)' not found", node: node)
    }
    return bitmap
  }

  /// Puts `bitmap`, which has the node's length, in front.
  ///
  /// A name that is taken is refused.
  public func insert(_ bitmap: DirtyBitmap) throws(BlockError) {
    let isTaken = state.withLock { state in
      if let name = bitmap.name, state.bitmaps.contains(where: { $0.name == name }) { return true }
      state.bitmaps.insert(bitmap, at: 0)
      return false
    }
    if isTaken {
      throw BlockError(
        .alreadyExists, "Bitmap already exists: \(bitmap.name ?? "")", node: node)
    }
    recount()
  }

  /// Takes `bitmap` off the list; nothing happens when it is not on it.
  public func drop(_ bitmap: DirtyBitmap) {
    state.withLock { state in state.bitmaps.removeAll { $0 === bitmap } }
    recount()
  }

  /// Moves `bitmap` to the front: what happens when its successor takes its place.
  public func moveToFront(_ bitmap: DirtyBitmap) {
    state.withLock { state in
      guard let index = state.bitmaps.firstIndex(where: { $0 === bitmap }) else { return }
      state.bitmaps.insert(state.bitmaps.remove(at: index), at: 0)
    }
  }

  /// Throws the first bitmap's refusal to take another length, in bytes.
  func checkResizable(to length: Int) throws(BlockError) {
    do {
      try state.withLock { state throws(BitmapError) in
        for bitmap in state.bitmaps { try bitmap.checkResizable(to: length) }
      }
    } catch {
      throw BlockError(.bitmap, error.message, node: node, cause: error)
    }
  }

  /// Gives every bitmap the node's new length; growth dirties nothing.
  func follow(nodeLength: Int) {
    state.withLock { state in state.follow(nodeLength) }
  }

  /// Whether some bitmap is read-only, so that a write could not be recorded.
  var hasReadOnly: Bool { counts.load(ordering: .relaxed) >> 32 != 0 }

  /// Looks again at which bitmaps are read-only.
  ///
  /// Call it after changing such a flag.
  public func recount() {
    state.withLock { state in
      let readOnly = state.bitmaps.count { $0.isReadOnly }
      counts.store(UInt64(readOnly) << 32 | UInt64(state.bitmaps.count), ordering: .releasing)
    }
  }

  /// Sets `range` in every bitmap that records.
  ///
  /// A node that has grown grows its bitmaps first.
  func record(_ range: ByteRange, nodeLength: Int) {
    guard counts.load(ordering: .acquiring) != 0 else { return }
    state.withLock { state in
      // A write beyond the end may have made the node longer; another, longer still.
      state.follow(max(nodeLength, state.length))
      let inside = range.intersection(ByteRange(0, max(nodeLength, range.lower)))
      guard !inside.isEmpty else { return }
      for bitmap in state.bitmaps { bitmap.record(inside) }
    }
  }
}

/// The bitmap commands of a node.
extension BlockNode {
  /// Adds a bitmap, empty and recording unless `disabled`.
  ///
  /// `granularity` is in bytes; without one it is the cluster size, at least 4 KiB and at most 64
  /// KiB. A persistent bitmap reaches the image when the bitmaps are next stored.
  ///
  /// Source: QMP's `block-dirty-bitmap-add`, whose error texts these are.
  @discardableResult
  public func addBitmap(
    _ name: String, granularity: Int? = nil, persistent: Bool = false, disabled: Bool = false
  ) throws(BlockError) -> DirtyBitmap {
    do {
      try BitmapName.checkNotEmpty(name)
      if let granularity { try BitmapGranularity.check(granularity) }
      let granularity =
        granularity ?? BitmapGranularity.defaultGranularity(clusterSize: clusterSize)
      if persistent {
        guard let store = driver as? any PersistentBitmapStore else {
          throw BlockError(
            .unsupported,
            "Can't store persistent bitmaps to \(self.name): Operation not supported",
            node: self.name)
        }
        if bitmaps.find(name) != nil {
          throw BlockError(.alreadyExists, "Bitmap already exists: \(name)", node: self.name)
        }
        do {
          try store.checkStorable(
            name: name, granularity: granularity, existing: bitmaps.all.filter(\.isPersistent))
        } catch {
          throw error.prefixed("Can't make bitmap '\(name)' persistent in '\(self.name)'")
        }
      }
      if bitmaps.find(name) != nil {
        throw BlockError(.alreadyExists, "Bitmap already exists: \(name)", node: self.name)
      }
      let bitmap = try DirtyBitmap(
        name: name, size: length, granularity: granularity, isEnabled: !disabled,
        isPersistent: persistent)
      try bitmaps.insert(bitmap)
      return bitmap
    } catch let error as BitmapError {
      throw BlockError(.bitmap, error.message, node: self.name, cause: error)
    } catch let error as BlockError {
      throw error
    } catch {
      throw BlockError(.bitmap, "\(error)", node: self.name)
    }
  }

  /// Removes a bitmap, from the image too.
  ///
  /// Refused while it is in use or read-only.
  ///
  /// Source: QMP's `block-dirty-bitmap-remove`.
  public func removeBitmap(_ name: String) async throws(BlockError) {
    let bitmap = try bitmaps.named(name)
    do {
      try bitmap.beginRemoval()
    } catch {
      throw BlockError(.bitmap, error.message, node: self.name, cause: error)
    }
    do throws(BlockError) {
      try await eraseStored(bitmap)
    } catch {
      bitmap.cancelRemoval()
      throw error
    }
    bitmaps.drop(bitmap)
  }

  /// Takes a bitmap whose removal has begun out of the image, durably; in memory it stays, and is
  /// stored again if the removal is cancelled.
  ///
  /// The image of a node that nobody has written takes in what commands have changed of the other
  /// bitmaps: bits that were merged from the removed one are in it at once.
  public func eraseStored(_ bitmap: DirtyBitmap) async throws(BlockError) {
    guard bitmap.isPersistent, let name = bitmap.name,
      let store = driver as? any PersistentBitmapStore
    else { return }
    let others = bitmaps.all.filter { $0 !== bitmap && $0.isPersistent }
    try await store.removeStoredBitmap(named: name, keeping: others)
  }

  /// Writes the node's persistent bitmaps to its image, durably, in one atomic switch.
  ///
  /// No write may be under way: it would be missing. `BlockGraph.storeBitmaps(of:)` sees to that.
  public func storeBitmaps() async throws(BlockError) {
    guard !isReadOnly, let store = driver as? any PersistentBitmapStore else { return }
    try await store.storeBitmaps(bitmaps.all.filter(\.isPersistent))
  }
}
