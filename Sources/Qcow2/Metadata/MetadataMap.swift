/// Which clusters of the file hold metadata, and of what class: four bits a cluster, in words of 16
/// clusters of which only those with a class exist.
///
/// A lookup is one look into a hash table. Memory follows the number of tables and blocks, at most
/// 32 bytes each, whatever offsets an image names.
struct MetadataMap: Sendable {
  private var words: [Int: UInt64] = [:]

  /// What the cluster holds; nil for no metadata.
  subscript(cluster: Int) -> MetadataOwner? {
    guard let word = words[cluster >> 4] else { return nil }
    return MetadataOwner(rawValue: UInt8(word >> Self.shift(cluster) & 15))
  }

  /// Whether the cluster holds metadata.
  func contains(_ cluster: Int) -> Bool { self[cluster] != nil }

  /// Notes what the cluster holds; one that holds something already stays what it is.
  mutating func insert(_ cluster: Int, as owner: MetadataOwner) {
    let shift = Self.shift(cluster)
    let word = words[cluster >> 4] ?? 0
    guard word >> shift & 15 == 0 else { return }
    words[cluster >> 4] = word | UInt64(owner.rawValue) << shift
  }

  /// Notes what the clusters hold.
  mutating func insert(_ clusters: Range<Int>, as owner: MetadataOwner) {
    for cluster in clusters { insert(cluster, as: owner) }
  }

  /// Notes that the cluster holds no metadata any more.
  mutating func remove(_ cluster: Int) {
    guard let word = words[cluster >> 4] else { return }
    let rest = word & ~(15 << Self.shift(cluster))
    words[cluster >> 4] = rest == 0 ? nil : rest
  }

  /// Where the last cluster with metadata ends; 0 without any.
  ///
  /// Looks at all of them.
  var end: Int {
    guard let last = words.keys.max(), let word = words[last] else { return 0 }
    return last << 4 + (63 - word.leadingZeroBitCount) >> 2 + 1
  }

  private static func shift(_ cluster: Int) -> UInt64 { UInt64(cluster & 15) << 2 }
}
