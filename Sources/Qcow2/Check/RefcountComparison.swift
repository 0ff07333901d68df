/// How far a comparison has come.
struct RefcountComparison {
  /// The first cluster that is not of the file.
  let end: Int
  private let pages: [Int]
  private var position = 0
  /// The next entry of the refcount table that was not looked at.
  private var tableIndex = 0
  /// Whether nothing behind the file is believed of the present block.
  var isDoubtful = false
  /// Whether what is counted too often may be counted less.
  var mayFree = false
  /// Whether the present block may be written.
  var mayWrite = false
  /// Whether it may count more.
  var mayRaise = false
  /// Whether there are references in the range of a block that is not there.
  var isUncounted = false
  /// By runs: a block may count millions of clusters.
  private var changes: [(clusters: Range<Int>, refcount: UInt64)] = []
  /// The highest cluster of the file with a refcount or a reference.
  var highest = 0
  /// The clusters behind the file with a refcount, and no reference.
  private(set) var behind: (first: Int, last: Int, count: Int)?

  init(end: Int, pages: [Int]) {
    self.end = end
    self.pages = pages
  }

  /// The next block that exists, or that should because there are references in its range.
  mutating func nextBlock(_ table: [UInt64], _ geometry: Geometry) -> Int? {
    while tableIndex < table.count, table[tableIndex] == 0 { tableIndex += 1 }
    let existing = tableIndex < table.count ? tableIndex : nil
    // A page is never larger than what a block counts: at least 64 clusters.
    let wanted = nextPage.map { $0.lowerBound / geometry.entriesPerRefcountBlock }
    guard let index = [existing, wanted].compactMap({ $0 }).min() else { return nil }
    tableIndex = max(tableIndex, index + 1)
    return index
  }

  /// Changes a refcount of the present block, if that may be; says whether it did.
  mutating func change(_ cluster: Int, from refcount: UInt64, to references: UInt64) -> Bool {
    guard mayWrite, refcount > references ? mayFree : mayRaise else { return false }
    if let last = changes.last, last.refcount == references, last.clusters.upperBound == cluster {
      changes[changes.count - 1].clusters = last.clusters.lowerBound..<cluster + 1
    } else {
      changes.append((cluster..<cluster + 1, references))
    }
    return true
  }

  /// Frees clusters of the present block, where that may be, which nothing refers to.
  mutating func free(_ clusters: Range<Int>) { changes.append((clusters, 0)) }

  /// The changes of the present block.
  mutating func takeChanges() -> [(clusters: Range<Int>, refcount: UInt64)] {
    defer { changes = [] }
    return changes
  }

  /// Notes clusters behind the file that have a refcount, in ascending order.
  mutating func addBehind(_ first: Int, _ last: Int, count: Int) {
    if isDoubtful { return }
    behind = (behind?.first ?? first, last, (behind?.count ?? 0).addingClamped(count))
  }

  /// The clusters that a block counts.
  func range(ofBlock index: Int, _ geometry: Geometry) -> Range<Int> {
    let first = geometry.firstCluster(ofRefcountBlock: index).value
    return first..<first + geometry.entriesPerRefcountBlock
  }

  /// The clusters of the next page that was not taken.
  var nextPage: Range<Int>? {
    guard position < pages.count else { return nil }
    let first = pages[position] * ReferenceCounts.clustersPerPage
    return first..<first + ReferenceCounts.clustersPerPage
  }

  /// Takes the next page if it is below `cluster`.
  mutating func takePage(before cluster: Int) -> Range<Int>? {
    guard let page = nextPage, page.lowerBound < cluster else { return nil }
    position += 1
    return page
  }
}
