internal import BlockLayer
internal import Primitives

/// The image's metadata in memory, all of it guarded by one lock (`Qcow2Driver.tables`).
///
/// Everything here is synchronous and does no I/O. What is missing in memory is told to the
/// caller, who loads it without the lock and asks again.
///
/// Invariants
/// 1. A cluster is mapped in memory only after its data has been written, and its refcount in
///    memory was at least 1 before that.
/// 2. What `CommitPlan` takes at one moment holds every refcount that its mappings need, and the
///    data of its mappings was written before that moment.
/// 3. A refcount falls, in memory too, only when the removal of the reference is durable and no
///    request that saw the reference is under way. So whatever is free in memory may be reused.
/// 4. An L2 table in `newTables` has not been written; its missing slices are all zero.
/// 5. `metadataClusters` has every cluster that holds metadata: no data is ever written there.
struct Tables {
  /// The header as it is on disk.
  var header: HeaderCluster
  /// The sizes; the driver's own copy does not know when the width of refcounts was changed.
  var geometry: Geometry
  /// Whether guest data is in another file, each cluster at its guest offset.
  let hasDataFile: Bool

  // The active L1 table, machine byte order, and what a commit has to write of it.
  var l1: [UInt64]
  var dirtyL1: Set<Int> = []
  /// Where the table is; when `isL1Moved`, it is still to be written there as a whole.
  var l1Offset: HostOffset
  var isL1Moved = false

  var l2: L2Cache
  /// L2 tables that are not on disk yet.
  var newTables: Set<Int> = []

  // The refcount table, likewise.
  var refcountTable: [UInt64]
  var dirtyRefcountTable: Set<Int> = []
  /// Where the table is; when `isRefcountTableMoved`, it is still to be written there as a whole.
  var refcountTableOffset: HostOffset
  var isRefcountTableMoved = false
  var refcounts: RefcountCache
  /// No cluster below is free.
  var firstFree = 0
  /// No cluster from here on was ever written: the file has a hole there, or ends before.
  var highWater: Int

  /// References that were removed in memory, and whose clusters may be freed once that is durable.
  var removed: [RemovedReference] = []
  /// Of those, the ones whose removal is durable, but which a request may still be using.
  var retired: [RemovedReference] = []
  /// Of those, the ones whose refcounts could not be read; they are tried again with each commit.
  var hindered: [RemovedReference] = []
  /// What the last of them met.
  var hindrance: BlockError?
  var metadataClusters = MetadataMap()
  /// L2 tables that two entries of the active L1 table name, by their cluster: writing in one would
  /// change what the other shows.
  var tablesNamedTwice: Set<Int> = []
  /// Where the last compressed stream that we wrote ends; the rest of its cluster is free for the
  /// next one.
  ///
  /// Nil when there is no such place.
  var streamsEnd: Int?
  /// What was decompressed; clusters that are freed go from there.
  let decompressed: DecompressedClusters
  /// Whether the header says nothing that a change would make untrue.
  var isHeaderReady = false
  /// Why the image must not be written any more.
  var poison: BlockError?
  /// Who is told of clusters that are taken and freed; nobody but tests.
  var observer: AllocationObserver?

  init(header: HeaderCluster, l1: [UInt64], refcountTable: [UInt64], fileLength: Int) {
    self.header = header
    geometry = header.header.geometry
    hasDataFile = header.header.incompatibleFeatures.contains(.externalDataFile)
    self.l1 = l1
    self.refcountTable = refcountTable
    decompressed = DecompressedClusters(clusterSize: geometry.clusterSize)
    l1Offset = header.header.l1TableOffset
    refcountTableOffset = header.header.refcountTableOffset
    let clusterSize = geometry.clusterSize
    l2 = L2Cache(geometry: geometry, budgetBytes: Qcow2Limits.l2CacheBytes)
    refcounts = RefcountCache(
      clusterSize: clusterSize, budgetBytes: Qcow2Limits.refcountCacheBytes)
    highWater = fileLength.dividedRoundingUp(by: clusterSize)
  }

  /// Whether a commit would have something to write.
  var isDirty: Bool {
    !l2.dirty.isEmpty || !newTables.isEmpty || !dirtyL1.isEmpty || isL1Moved
      || !dirtyRefcountTable.isEmpty || isRefcountTableMoved || refcounts.dirtyCount > 0
      || !removed.isEmpty || !retired.isEmpty
  }
}

/// A reference to clusters of the file that memory no longer has.
struct RemovedReference: Sendable {
  /// The first cluster.
  let cluster: Int
  /// How many follow each other.
  let count: Int
  /// Whether the host may be told that the space is free.
  let mayPunch: Bool

  /// The same, a cluster each; the host is told no more.
  var clusters: [RemovedReference] {
    (cluster..<cluster + count).map { RemovedReference(cluster: $0, count: 1, mayPunch: false) }
  }
}

/// The engine's bounds on memory, with the reason of each.
enum Qcow2Limits {
  /// L2 slices in memory: as QEMU's default on Linux; maps 256 GiB at 64 KiB clusters.
  static let l2CacheBytes = 32 << 20
  /// Refcount blocks in memory: covers 512 GiB of file at 64 KiB clusters.
  static let refcountCacheBytes = 16 << 20
  /// Dirty slices that start a write-back: a quarter of the cache, so that clean ones remain.
  static let dirtySlices = 2048
  /// The longest run that one allocating write takes, in bytes: what a request holds locked.
  static let allocationRun = 8 << 20
  /// References that guests' requests have taken away before they are freed: else a guest that
  /// never flushes would make the file grow by all that it overwrites.
  static let removedBeforeWriteBack = 1 << 12
  /// References that one operation takes away before they are freed: some megabytes of memory.
  static let removedReferences = 1 << 16
  /// Data and its copied surroundings up to this size are written with one call.
  static let mergedWrite = 1 << 20
  /// Clusters of snapshots' L1 tables that are guarded against being written as data: a damaged
  /// table can claim any number, and each takes some 20 bytes.
  static let inactiveTableClusters = 1 << 20
  /// The runs, of a slice or an unmapped table each, that one block status joins: microseconds.
  static let statusSteps = 16
  /// Contexts of zlib or zstd that are kept for the next cluster, of each direction: as many as
  /// threads are likely to be at it, at up to 1 MiB each.
  static let idleCompressionContexts = 8
  /// Clusters kept decompressed, for who reads one in pieces: a stream for each of many readers.
  static let decompressedBytes = 4 << 20
  /// Their number: small ones would make a long list, and large ones are wanted by several readers.
  static let decompressedClusters = 4...64
  /// What a compressed write compresses at a time, in bytes: enough for many processors.
  static let compressionBatch = 1 << 20
  /// What it compresses at least, in clusters, however large they are.
  static let compressionBatchClusters = 4
}
