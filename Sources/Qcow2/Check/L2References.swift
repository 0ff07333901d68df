/// The L2 tables of an image, each once, with the number of L1 entries that name it.
///
/// Every entry of a table is a reference for each of them: so a table is read once however many
/// snapshots share it.
struct L2References {
  /// An L2 table.
  struct Table {
    /// The cluster that it stands on.
    let cluster: Int
    /// The index of the first L1 entry that names it.
    let l1Index: Int
    /// The entries of all L1 tables that name it.
    var total = 0
    /// The entries of the active L1 table that name it.
    var active = 0
    /// Whether there is nothing to read in it: it is all zeros, or cannot be read.
    var isHollow = false
    /// Whether something else refers to its cluster.
    var isOverlaid = false
  }

  /// The tables in the order in which they were first named.
  var tables: [Table] = []
  private var positions: [Int: Int32] = [:]

  /// Notes an L1 entry that names the table on `cluster`.
  mutating func add(_ cluster: Int, l1Index: Int, isActive: Bool) {
    let position: Int
    if let known = positions[cluster] {
      position = Int(known)
    } else {
      position = tables.count
      positions[cluster] = Int32(position)
      tables.append(Table(cluster: cluster, l1Index: l1Index))
    }
    tables[position].total += 1
    if isActive { tables[position].active += 1 }
  }
}
