internal import BlockLayer
internal import Primitives

/// One walk over all references of an image, from the file alone, and their comparison with the
/// refcounts.
///
/// Order
/// 1. Every structure is found and claims its clusters (`+Tables`, `+Snapshots`, `+Bitmaps`): the
///    header, the L1 tables, the snapshot table, the refcount table and its blocks, the bitmaps,
///    the LUKS header. This also tells which L2 tables there are, and how often each is named.
/// 2. Every L2 table is read once, and its entries counted for all who name it (`+Mapping`).
/// 3. References are compared with refcounts, which then take their place in memory (`+Refcounts`).
/// 4. The copied flags of the active tree are compared with refcounts (`+CopiedFlags`).
///
/// A reference that is damaged is reported and not followed. What cannot be read is a check error.
/// Either way the result says that the walk is incomplete.
///
/// A walk that repairs writes what can be put right by a change in place of single entries:
/// offsets of reserved clusters (2), refcounts (3), copied flags (4). `ImageRepairer` says in which
/// order that is safe, and does the rest: see `needs`.
struct ConsistencyCheck {
  let node: BlockNode
  let cluster: HeaderCluster
  let header: Header
  let geometry: Geometry
  let fileLength: Int
  /// The number of clusters that the file has a byte of.
  let fileClusters: Int
  let hasDataFile: Bool
  /// What is put right on the way; nil for a check alone.
  let repair: ImageRepair?
  /// Whether a repair may take away bitmaps, snapshots or what is known of them.
  var mayLose = true
  /// What a repair has to do besides.
  var needs = RepairNeeds()

  var log: CheckLog
  var budget: CheckBudget
  var counts = ReferenceCounts()
  var references = L2References()
  /// The refcount table, as far as it stands in the file.
  var refcountTable: [UInt64] = []
  /// Whether something is named outside of the file, which may have been cut: what is counted
  /// there then is lost rather than leaked.
  var isCutShort = false
  /// What of `log.defects` is due to the refcount table.
  var defectsOfRefcountTable = 0
  /// Whether something could not be read: it may be right, and may be read the next time.
  var hasReadError = false
  /// Whether each refcount block is named by one sound entry, and by nothing else.
  var soundBlocks: [Bool] = []
  /// The clusters of blocks that something else refers to too.
  var sharedBlocks: Set<Int> = []
  /// Whether something else stands on the active L1 table.
  var isL1Overlaid = false
  /// Whether copied flags that are wrong are changed.
  var mayChangeFlags = false
  /// The hole of the file that was found last.
  private var knownHole = ByteRange(0, 0)

  /// Prepares a walk over the image in `node`, whose first cluster says `cluster`.
  init(
    _ cluster: HeaderCluster, in node: BlockNode, limits: CheckLimits, repairing: ImageRepair? = nil
  ) {
    repair = repairing
    self.node = node
    self.cluster = cluster
    header = cluster.header
    geometry = header.geometry
    fileLength = node.length
    fileClusters = fileLength.dividedRoundingUp(by: header.clusterSize)
    hasDataFile = header.incompatibleFeatures.contains(.externalDataFile)
    log = CheckLog(keeping: limits.findings)
    budget = CheckBudget(limits)
  }

  /// Walks.
  ///
  /// Throws only when the calling task is cancelled: whatever else prevents a part of the check is
  /// an error in the result.
  mutating func run() async throws(BlockError) -> ImageCheck {
    do throws(CheckStop) {
      try await findStructures()
      if !mayLose, let loss = needs.loss {
        throw .writing(
          BlockError(
            .corrupt, "\(loss) would be lost: read what is in the image, then run check -r all"))
      }
      try await walkTables()
      try await compareRefcounts()
      try await checkCopiedFlags()
    } catch {
      switch error {
      case .cancelled: throw BlockError(.cancelled, "the check was cancelled")
      case .writing(let error): throw error
      case .implausible(let reason):
        needs = RepairNeeds()
        log.addError("the check was given up: implausible image, \(reason)")
      }
    }
    let total = geometry.clusterCount(forBytes: header.virtualSize)
    log.update { $0.totalClusters = total }
    return log.finished()
  }

  /// Counts all references, those to refcount blocks too, and compares nothing.
  ///
  /// Answers whether all could be followed, but for those to refcount structures themselves.
  mutating func countReferences() async throws(CheckStop) -> Bool {
    try await findStructures()
    try await walkTables()
    countBlocks()
    return isEverythingKnown
  }

  /// Whether every reference was followed, but for those to refcount structures: what no reference
  /// was counted to is free.
  var isEverythingKnown: Bool { !hasReadError && log.defects == defectsOfRefcountTable }

  private mutating func findStructures() async throws(CheckStop) {
    try claimRange(ByteRange(0, geometry.clusterSize), .header)
    try await walkL1(header.l1TableRange, isActive: true)
    try await walkSnapshots()
    let before = log.defects
    try await readRefcountTable()
    defectsOfRefcountTable = log.defects - before
    try await walkBitmaps()
    try claimEncryptionHeader()
  }

  private mutating func claimEncryptionHeader() throws(CheckStop) {
    guard let range = cluster.extensions.encryptionHeader?.range, !range.isEmpty else { return }
    guard range.count <= budget.limits.encryptionHeaderBytes else {
      log.add(.encryptionHeaderTooLarge(byteCount: range.count))
      log.setIncomplete()
      return
    }
    try claimRange(range, .encryptionHeader)
  }
}

// MARK: - Clusters

extension ConsistencyCheck {
  /// Whether a region ends a cluster or more behind the file's end; reports it.
  mutating func isOutside(_ range: ByteRange, times count: Int = 1) -> Bool {
    guard range.upper > fileLength, range.upper - fileLength >= geometry.clusterSize else {
      return false
    }
    log.add(.outsideFile(range), times: count)
    log.setIncomplete()
    isCutShort = true
    return true
  }

  /// Counts a reference to each cluster of a structure, and claims them for it; nothing for one
  /// outside of the file.
  mutating func claimRange(_ range: ByteRange, _ owner: MetadataOwner) throws(CheckStop) {
    guard !isOutside(range) else { return }
    var overlaps = OverlapNotes()
    for cluster in geometry.clusters(touchedBy: range) {
      claim(cluster.value, owner, references: 1, &overlaps)
    }
  }

  /// Counts references to a cluster of a structure, and claims it; whether another structure had
  /// it before.
  @discardableResult
  mutating func claim(
    _ cluster: Int, _ owner: MetadataOwner, references count: Int, _ overlaps: inout OverlapNotes
  ) -> Bool {
    guard let before = refer(to: cluster, count, marks: .owned(by: owner)).owner else {
      return false
    }
    if overlaps.insert(before) { log.add(.metadataOverlap(owner, before, cluster: cluster)) }
    return true
  }

  /// Counts references to a cluster; answers the marks that it had.
  @discardableResult
  mutating func refer(
    to cluster: Int, _ count: Int = 1, marks: ReferenceCounts.Marks = .none
  ) -> ReferenceCounts.Marks {
    let (before, excess) = counts.add(
      count, to: cluster, maximum: geometry.maximumRefcount, marks: marks)
    if excess > 0 {
      log.add(.refcountOverflow(offset: cluster << geometry.clusterBits), times: excess)
    }
    return before
  }
}

/// With which other structures an overlap of one was reported: each is reported once.
struct OverlapNotes {
  private var seen: UInt16 = 0

  /// Whether `owner` is new.
  mutating func insert(_ owner: MetadataOwner) -> Bool {
    let bit = UInt16(1) << UInt16(owner.rawValue)
    defer { seen |= bit }
    return seen & bit == 0
  }
}

// MARK: - Reading

extension ConsistencyCheck {
  /// What was read.
  enum Piece {
    case bytes
    /// Zeros, which are not in the buffer.
    case zeros
    /// Nothing; that is noted.
    case failed
  }

  /// Reads a piece of a table into the start of `buffer`.
  ///
  /// Zeros behind the file's end; holes are not read once many were.
  mutating func load(
    _ range: ByteRange, _ owner: MetadataOwner, into buffer: inout IOBuffer
  ) async throws(CheckStop) -> Piece {
    if Task.isCancelled { throw .cancelled }
    do throws(BlockError) {
      if budget.asksForHoles, try await isHole(range) { return .zeros }
      var bytes = buffer.mutableBytes
      var part = bytes.slice(ByteRange(0, range.count))
      try await node.read(range, into: &part)
    } catch {
      hasReadError = true
      log.addError(
        "Could not read \(owner.name), bytes \(range) of the file: \(error.message)")
      return .failed
    }
    guard buffer.bytes.slice(ByteRange(0, range.count)).isZero else { return .bytes }
    budget.addZeros(range.count)
    return .zeros
  }

  private mutating func isHole(_ range: ByteRange) async throws(BlockError) -> Bool {
    guard range.lower < fileLength else { return true }
    let inside = range.intersection(ByteRange(0, fileLength))
    if knownHole.contains(inside) { return true }
    // One answer may tell of much that is still to be asked.
    let status = try await node.chainStatus(ByteRange(inside.lower, fileLength))
    guard status.status.isZero else { return false }
    knownHole = ByteRange(offset: inside.lower, count: status.count)
    return knownHole.contains(inside)
  }
}
