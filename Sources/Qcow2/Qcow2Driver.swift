public import BlockLayer
internal import Execution
internal import Primitives
internal import Synchronization

/// The qcow2 format, versions 2 and 3: a guest disk in a file that holds only what was written.
///
/// Table of contents
/// - Opening: `Qcow2Driver+Open`. Creating: `Qcow2Creation`. Another size: `Resize/`.
///   Other properties: `Amend/`.
/// - Bytes and values, without any I/O: `Format/`.
/// - From a guest offset to a run: `Mapping/Lookup`, `+Lookup`; reading `+Read`; writing `+Write`,
///   `+Zero`, `+Tables`.
/// - Free clusters and refcounts: `Allocation/`. Compressed clusters: `Compressed/`.
/// - What is in memory (`Metadata/Tables`), and how it gets to disk in order (`+Commit`,
/// `+Header`).
/// - Internal snapshots: `Snapshots/`.
/// - Dirty bitmaps in the image: `Bitmaps/`. Consistency: `Check/`. What an image says of itself:
///   `Information/`.
///
/// Locks, in the order in which they may be taken: `structure`, `preparation`, `allocationLocks`
/// (guest clusters), `tableCopies`, `appendingStreams`, `commitLock`, `loads` (pieces of metadata),
/// `tables`. Only `tables` is a mutex, and no I/O happens under it; data I/O of mapped clusters
/// happens under none.
public final class Qcow2Driver: BlockDriver {
  /// The name of the format.
  public var driverName: String { "qcow2" }

  let file: BlockEdge
  let backing: BlockEdge?
  /// Where guest data is, if not in `file`.
  let dataFile: BlockEdge?
  let geometry: Geometry
  let isReadOnly: Bool
  /// Whether only `check` and `information` may be asked of it.
  let isForCheck: Bool

  /// The virtual size in bytes.
  let virtualSize: Atomic<Int>
  let tables: Mutex<Tables>
  let epochs = RequestEpochs()
  /// Guest clusters whose mapping is being changed.
  let allocationLocks = RangeLock()
  /// Pieces of the file that are being brought into memory.
  let loads = RangeLock()
  /// Changes of more than mappings, one at a time: size, snapshots, properties, emptying.
  let structure = AsyncMutex()
  let tableCopies = AsyncMutex()
  /// The place behind the last compressed stream.
  let appendingStreams = AsyncMutex()
  let commitLock = AsyncMutex()
  let preparation = AsyncMutex()
  let isPrepared = Atomic<Bool>(false)
  /// Compresses and decompresses clusters.
  let codec: ClusterCodec
  /// The last clusters that were decompressed.
  let decompressed: DecompressedClusters
  /// Whether mapped clusters may be holes of the file.
  let holes = Atomic<Finding>(.unknown)
  /// The bitmaps of the image, as they are on disk.
  let storedBitmaps: Mutex<StoredBitmaps>
  /// The snapshot table, as it is on disk; nil until it was read.
  let snapshotTable = Mutex<StoredSnapshots?>(nil)
  #if MUTANT_IN_USE_AFTER_WRITE
  let bitmapClaimIsDue = Atomic<Bool>(false)
  #endif

  init(
    file: BlockEdge, backing: BlockEdge?, dataFile: BlockEdge? = nil,
    tables: consuming sending Tables, isReadOnly: Bool, isForCheck: Bool = false
  ) {
    self.file = file
    self.backing = backing
    self.dataFile = dataFile
    self.isReadOnly = isReadOnly
    self.isForCheck = isForCheck
    geometry = tables.geometry
    codec = ClusterCodec(
      tables.header.header.compressionType, clusterSize: tables.geometry.clusterSize)
    decompressed = tables.decompressed
    virtualSize = Atomic(tables.header.header.virtualSize)
    self.tables = Mutex(tables)
    storedBitmaps = Mutex(StoredBitmaps())
  }

  /// The version of the format, which amending changes.
  var version: FormatVersion { tables.withLock { $0.header.header.version } }

  /// The virtual size in bytes.
  public var length: Int { virtualSize.load(ordering: .acquiring) }

  /// Discards work on whole clusters; everything else on sectors.
  ///
  /// Not on bytes: a write that ends inside a sector would end the file there, and a later write of
  /// that sector, which makes the file longer, could be torn by a crash: its first bytes new, the
  /// others cut off with the new length.
  public var limits: BlockLimits {
    BlockLimits(
      requestAlignment: 512, discardAlignment: geometry.clusterSize,
      clusterSize: geometry.clusterSize)
  }

  /// The file, and the backing node and the data file if there are such.
  public var children: [BlockEdge] { [file] + [backing, dataFile].compactMap { $0 } }

  /// The node that has the guest's data.
  var dataNode: BlockNode { (dataFile ?? file).node }

  /// Whether the data file is to be byte for byte what the guest sees.
  var isDataFileRaw: Bool {
    dataFile != nil
      && tables.withLock { $0.header.header.autoclearFeatures.contains(.rawExternalData) }
  }

  /// Writes back all that is cached, and makes it durable.
  public func close() async throws(BlockError) {
    guard !isReadOnly else { return }
    if let poison = tables.withLock({ $0.poison }) {
      await noteCorruption(poison)
      return
    }
    try await writeAllBack()
    if tables.withLock({ !$0.hindered.isEmpty }) {
      try await commitLock.withLock { () async throws(BlockError) in try await commit() }
      try await writeBack()
    }
    try await flushFile()
    if let hindrance = tables.withLock({ $0.hindrance }) {
      throw hindrance.prefixed("The image is complete, but space in it could not be given up")
    }
  }

  /// Announces an event to the file, where blkdebug may listen.
  func raise(_ event: DebugEvent) async {
    await file.node.raise(event)
  }
}
