internal import Primitives
internal import Synchronization

/// The last clusters that were decompressed for reads of a part of them, so that reading a cluster
/// piece by piece decompresses it once.
///
/// An entry is found by the descriptor of its stream, and is never out of date:
/// 1. The bytes of a stream change only when one of its host clusters is used anew, and so only
///    after that was freed; streams are appended behind those that are there.
/// 2. A cluster is freed only when no request that saw a reference to it is under way (invariant 3
///    of `Tables`), and `forget` then takes its streams out. None can come in behind it: who puts
///    one in has seen a reference.
///
/// So `insert` is for requests that are still in the epoch of their lookup.
final class DecompressedClusters: Sendable {
  private struct Slot {
    let descriptor: CompressedDescriptor
    let cluster: [UInt8]
    var lastUse: Int
  }

  private struct State {
    var slots: [Slot] = []
    var uses = 0
  }

  private let capacity: Int
  private let state = Mutex(State())

  /// Makes room for as many clusters as the limits allow.
  init(clusterSize: Int) {
    capacity = min(
      max(Qcow2Limits.decompressedBytes / clusterSize, Qcow2Limits.decompressedClusters.lowerBound),
      Qcow2Limits.decompressedClusters.upperBound)
  }

  /// The cluster of a stream, if it is there.
  func cluster(of descriptor: CompressedDescriptor) -> [UInt8]? {
    state.withLock { state in
      guard let index = state.slots.firstIndex(where: { $0.descriptor == descriptor }) else {
        return nil
      }
      state.uses += 1
      state.slots[index].lastUse = state.uses
      return state.slots[index].cluster
    }
  }

  /// Keeps the cluster of a stream, in place of the one that was not used for longest.
  func insert(_ cluster: [UInt8], of descriptor: CompressedDescriptor) {
    state.withLock { state in
      if state.slots.contains(where: { $0.descriptor == descriptor }) { return }
      state.uses += 1
      let slot = Slot(descriptor: descriptor, cluster: cluster, lastUse: state.uses)
      if state.slots.count < capacity {
        state.slots.append(slot)
      } else if let oldest = state.slots.indices.min(
        by: { state.slots[$0].lastUse < state.slots[$1].lastUse })
      {
        state.slots[oldest] = slot
      }
    }
  }

  /// Gives up the clusters whose streams touch host cluster `index`, which was freed.
  func forget(hostCluster index: Int) {
    state.withLock { state in
      state.slots.removeAll { $0.descriptor.touchedClusters.contains(ClusterIndex(index)) }
    }
  }
}
