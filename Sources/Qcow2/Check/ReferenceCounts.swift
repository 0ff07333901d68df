/// How often each cluster of a file is referred to, what stands on it, and a few marks: 16 bits a
/// cluster, in pages of 32 clusters of which only those with a reference exist.
///
/// So memory follows the references, some 100 bytes for the first in a page, and not the file's
/// length, which costs nothing to make large.
struct ReferenceCounts {
  /// What is known of a cluster besides its count.
  struct Marks {
    fileprivate(set) var rawValue: UInt16

    /// The structure of the image that claimed the cluster first; nil where there is none.
    var owner: MetadataOwner? {
      MetadataOwner(rawValue: UInt8(rawValue >> 12))
    }
    /// Whether the active tree maps guest data to it.
    var isMapped: Bool { rawValue & Self.mapped.rawValue != 0 }
    /// Whether neither a structure nor guest data of the active tree is known to stand on it.
    var isFree: Bool { rawValue & (0xf000 | Self.mapped.rawValue) == 0 }

    /// None.
    static let none = Marks(rawValue: 0)
    /// The active tree maps guest data to it.
    static let mapped = Marks(rawValue: 1 << 11)

    /// A structure stands on it.
    static func owned(by owner: MetadataOwner) -> Marks {
      Marks(rawValue: UInt16(owner.rawValue) << 12)
    }

    /// These and `others`; an owner stays the one it is.
    fileprivate func adding(_ others: Marks) -> Marks {
      let isOwned = rawValue & 0xf000 != 0
      return Marks(rawValue: rawValue | (isOwned ? others.rawValue & 0x0fff : others.rawValue))
    }
  }

  /// The number of clusters of a page.
  static let clustersPerPage = 32

  // The low 11 bits of an entry: the count, or one of these.
  private static let countMask: UInt16 = 0x7ff
  private static let inLarge: UInt16 = 0x7ff
  private static let unknown: UInt16 = 0x7fe
  private static let pagesPerSlab = 1024

  /// Where each page is, counted in pages through all slabs.
  private var slots: [Int: Int32] = [:]
  private var slabs: [[UInt16]] = []
  /// The counts that an entry cannot hold.
  private var large: [Int: UInt64] = [:]
  // The page used last: references mostly follow each other.
  private var lastPage = -1
  private var lastSlot = 0
  /// The highest cluster with a count.
  private(set) var highest = -1

  /// The number of pages in memory.
  var pageCount: Int { slots.count }

  /// Whether the page exists.
  func hasPage(_ number: Int) -> Bool { slots[number] != nil }

  /// The numbers of the pages that exist, in ascending order.
  var pages: [Int] { slots.keys.sorted() }

  /// Adds references to a cluster, up to the largest refcount that the image can hold, and sets
  /// marks.
  ///
  /// Answers the marks that it had, and how many references were too many.
  mutating func add(
    _ count: Int, to cluster: Int, maximum: UInt64, marks: Marks = .none
  ) -> (before: Marks, excess: Int) {
    let place = place(of: cluster)
    let entry = slabs[place.slab][place.index]
    let before = Marks(rawValue: entry & ~Self.countMask)
    let old = value(entry, cluster)
    let room = maximum - min(old, maximum)
    let added = min(UInt64(count), room)
    store(old + added, cluster, place, before.adding(marks))
    if added > 0 { highest = max(highest, cluster) }
    return (before, count - Int(added))
  }

  /// Makes a place for a cluster whose refcount is wanted, although no reference is counted.
  mutating func keepPlace(of cluster: Int) { _ = place(of: cluster) }

  /// Sets marks of a cluster.
  mutating func mark(_ cluster: Int, _ marks: Marks) {
    let place = place(of: cluster)
    let entry = slabs[place.slab][place.index]
    let before = Marks(rawValue: entry & ~Self.countMask)
    slabs[place.slab][place.index] = before.adding(marks).rawValue | entry & Self.countMask
  }

  /// The references to a cluster, and its marks.
  mutating func entry(of cluster: Int) -> (count: UInt64, marks: Marks) {
    guard let place = existingPlace(of: cluster) else { return (0, .none) }
    let entry = slabs[place.slab][place.index]
    return (value(entry, cluster), Marks(rawValue: entry & ~Self.countMask))
  }

  // MARK: - Refcounts, once references are done with

  /// Replaces the count of a cluster by its refcount on disk, nil where that cannot be read.
  ///
  /// Nothing is kept for a cluster without a page.
  mutating func setRefcount(_ refcount: UInt64?, of cluster: Int) {
    guard let place = existingPlace(of: cluster) else { return }
    let marks = Marks(rawValue: slabs[place.slab][place.index] & ~Self.countMask)
    if let refcount {
      store(refcount, cluster, place, marks)
    } else {
      slabs[place.slab][place.index] = marks.rawValue | Self.unknown
    }
  }

  /// The refcount that was set, 0 where none was; nil where it could not be read.
  mutating func refcount(of cluster: Int) -> UInt64? {
    guard let place = existingPlace(of: cluster) else { return 0 }
    let entry = slabs[place.slab][place.index]
    return entry & Self.countMask == Self.unknown ? nil : value(entry, cluster)
  }

  // MARK: - Places

  private typealias Place = (slab: Int, index: Int)

  private func value(_ entry: UInt16, _ cluster: Int) -> UInt64 {
    let count = entry & Self.countMask
    return count == Self.inLarge ? large[cluster] ?? 0 : UInt64(count)
  }

  private mutating func store(_ count: UInt64, _ cluster: Int, _ place: Place, _ marks: Marks) {
    if count < UInt64(Self.unknown) {
      slabs[place.slab][place.index] = UInt16(count) | marks.rawValue
    } else {
      slabs[place.slab][place.index] = Self.inLarge | marks.rawValue
      large[cluster] = count
    }
  }

  private mutating func existingPlace(of cluster: Int) -> Place? {
    let page = cluster / Self.clustersPerPage
    if page != lastPage {
      guard let slot = slots[page] else { return nil }
      lastPage = page
      lastSlot = Int(slot)
    }
    return place(of: cluster, slot: lastSlot)
  }

  private mutating func place(of cluster: Int) -> Place {
    if let place = existingPlace(of: cluster) { return place }
    let slot = slots.count
    if slot == slabs.count * Self.pagesPerSlab {
      slabs.append(Array(repeating: 0, count: Self.pagesPerSlab * Self.clustersPerPage))
    }
    lastPage = cluster / Self.clustersPerPage
    lastSlot = slot
    slots[lastPage] = Int32(slot)
    return place(of: cluster, slot: slot)
  }

  private func place(of cluster: Int, slot: Int) -> Place {
    (
      slot / Self.pagesPerSlab,
      slot % Self.pagesPerSlab * Self.clustersPerPage + cluster % Self.clustersPerPage
    )
  }
}
