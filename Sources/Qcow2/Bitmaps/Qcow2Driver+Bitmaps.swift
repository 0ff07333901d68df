public import BlockLayer
public import DirtyBitmap
internal import Execution
internal import Primitives
internal import Synchronization

extension Qcow2Driver: PersistentBitmapStore {
  /// Version 2 has none.
  public var holdsBitmaps: Bool { version == .v3 }

  /// The bitmaps in the image, in the directory's order.
  ///
  /// A bitmap that is in use, or whose table or bits are damaged, comes back inconsistent. One that
  /// cannot be told at all (an I/O error, a name that is no text), or a directory that cannot be
  /// read, is left out, unless the image is to be written: writing could not keep such bitmaps
  /// right, so that is refused.
  public func loadBitmaps() async throws(BlockError) -> [DirtyBitmap] {
    let entries: [BitmapDirectoryEntry]
    do {
      entries = try await directoryEntries()
    } catch {
      if isReadOnly { return [] }
      throw error
    }
    var bitmaps: [DirtyBitmap] = []
    var places = BitmapPlaces(geometry: geometry)
    for entry in entries {
      do throws(BlockError) {
        let bitmap = try await load(entry, &places)
        if isReadOnly, bitmaps.contains(where: { $0.name == bitmap.name }) { continue }
        bitmaps.append(bitmap)
      } catch {
        guard isReadOnly else { throw error }
      }
    }
    if !isReadOnly { tables.withLock { places.note(in: &$0.metadataClusters) } }
    return bitmaps
  }

  private func load(
    _ entry: BitmapDirectoryEntry, _ places: inout BitmapPlaces
  ) async throws(BlockError) -> DirtyBitmap {
    let name = String(decoding: entry.name.bytes, as: UTF8.self)
    let isRecording = entry.flags.contains(.auto)
    do {
      guard !entry.flags.contains(.inUse), let bits = try await readBits(entry, &places) else {
        return try DirtyBitmap(
          inconsistent: name, size: length, granularity: entry.granularity)
      }
      return try DirtyBitmap(
        name: name, bits: bits, isEnabled: isRecording, isReadOnly: isReadOnly)
    } catch let error as BlockError {
      throw error
    } catch {
      throw BlockError(.bitmap, "Could not load bitmap '\(name)': \(error)", cause: error)
    }
  }

  /// The bits of a stored bitmap; nil when its table is damaged.
  private func readBits(
    _ entry: BitmapDirectoryEntry, _ places: inout BitmapPlaces
  ) async throws -> HierarchicalBitmap? {
    guard places.takeTable(of: entry) else { return nil }
    let bits = try HierarchicalBitmap(size: length, granularity: entry.granularity)
    let table = try await Self.readTable(entry.tableRange, of: file.node)
    let clusterSize = geometry.clusterSize
    var buffer = IOBuffer(byteCount: clusterSize)
    for (index, value) in table.enumerated() {
      let chunk = ByteRange(offset: index * clusterSize, count: clusterSize)
      switch BitmapTableEntry(rawValue: value).kind(geometry: geometry) {
      case nil: return nil
      case .allZeros: bits.deserializeZeroes(chunk)
      case .allOnes: bits.deserializeOnes(chunk)
      case .data(let offset):
        guard offset.value < file.node.length, places.take(offset) else { return nil }
        var bytes = buffer.mutableBytes
        try await file.node.read(
          ByteRange(offset: offset.value, count: clusterSize), into: &bytes)
        bits.deserialize(from: bytes.bytes, atByte: chunk.lower)
      }
    }
    return bits
  }

  /// Throws, with QEMU's texts, when a new bitmap could not be stored in this image.
  public func checkStorable(
    name: String, granularity: Int, existing: [DirtyBitmap]
  ) throws(BlockError) {
    func refuse(_ text: String) -> BlockError { BlockError(.bitmap, text) }
    guard version == .v3 else { throw refuse("Cannot store dirty bitmaps in qcow2 v2 files") }
    let minimum = 1 << FormatLimits.minimumGranularityBits
    let maximum = 1 << FormatLimits.maximumGranularityBits
    guard granularity <= maximum else {
      throw refuse("Granularity exceeds maximum (\(maximum) bytes)")
    }
    guard granularity >= minimum else {
      throw refuse("Granularity is under minimum (\(minimum) bytes)")
    }
    try checkStorable(granularity: granularity, length: length)
    guard name.utf8.count <= FormatLimits.maximumBitmapNameBytes else {
      throw refuse(
        "Name length exceeds maximum (\(FormatLimits.maximumBitmapNameBytes) characters)")
    }
    guard existing.count < FormatLimits.maximumBitmaps else {
      throw refuse("Maximum number of persistent bitmaps is already reached")
    }
    let names = existing.compactMap(\.name) + [name]
    let bytes = names.reduce(0) { $0 + (24 + $1.utf8.count).roundedUp(to: 8) }
    guard bytes <= FormatLimits.maximumBitmapDirectoryBytes else {
      throw refuse("Not enough space in the bitmap directory")
    }
  }

  /// Throws, with QEMU's text, when the bits of a bitmap would go beyond the format's limits.
  public func checkStorable(granularity: Int, length: Int) throws(BlockError) {
    guard length > 0 else {
      throw BlockError(.bitmap, "A disk without bytes has nothing to track")
    }
    let sizes = BitmapSizes(
      virtualSize: length, granularityBits: granularity.trailingZeroBitCount)
    guard sizes.isStorable(geometry: geometry) else {
      throw BlockError(
        .bitmap, "Too much space will be occupied by the bitmap. Use larger granularity")
    }
  }

  /// Writes `bitmaps` to the image in place of those that it has, in one atomic switch.
  ///
  /// Nothing is written when the image has exactly these already. Inconsistent ones stay as they
  /// are on disk.
  ///
  /// No write may be under way: what it changes would be missing. After it the image may be
  /// written again; the bitmaps are claimed anew then.
  public func storeBitmaps(_ bitmaps: [DirtyBitmap]) async throws(BlockError) {
    try checkNotPoisoned()
    try await structure.withLock { () async throws(BlockError) in
      guard try await needsStoring(bitmaps) else { return }
      try await prepareHeader()
      try await commitLock.withLock { () async throws(BlockError) in
        // The bits on disk are right until the next change: it has to claim them first, whatever
        // fails here.
        isPrepared.store(false, ordering: .releasing)
        try await switchDirectory(storing: bitmaps, over: try await directoryEntries())
      }
    }
  }

  /// Puts `bitmaps` in place of the entries `old`; those that are right on disk are not written.
  ///
  /// The others keep the bits that they have on disk too, and go on recording, if `keepsBits`.
  ///
  /// The caller holds `commitLock`, under which alone a bitmap that is being removed leaves the
  /// image: it does not come back, whenever the caller listed `bitmaps`.
  private func switchDirectory(
    storing bitmaps: [DirtyBitmap], over old: [BitmapDirectoryEntry], keepsBits: Bool = false
  ) async throws(BlockError) {
    var entries: [BitmapDirectoryEntry] = []
    var written: [BitmapDirectoryEntry] = []
    do throws(BlockError) {
      for bitmap in ordered(bitmaps, as: old) {
        guard let name = bitmap.name else { continue }
        let present = old.first { $0.name.bytes == Array(name.utf8) }
        if bitmap.isInconsistent || bitmap.isBeingRemoved {
          if let present { entries.append(present) }
        } else if let present, try await isCurrent(present, bitmap) {
          entries.append(present)
        } else {
          let bits = keepsBits ? try await readBits(present, granularity: bitmap.granularity) : nil
          var entry = try await write(bitmap, named: name, with: bits)
          if keepsBits, present?.flags.contains(.auto) == true { entry.flags.insert(.auto) }
          written.append(entry)
          entries.append(entry)
        }
      }
      try await switchDirectory(to: entries)
    } catch {
      for entry in written where !isNamed(entry) { try? await release(entry) }
      throw error
    }
  }

  private func isNamed(_ entry: BitmapDirectoryEntry) -> Bool {
    storedBitmaps.withLock { state in
      state.entries?.contains { $0.tableOffset == entry.tableOffset } ?? false
    }
  }

  /// Bitmaps that the directory has keep their places; new ones follow, newest first.
  private func ordered(
    _ bitmaps: [DirtyBitmap], as entries: [BitmapDirectoryEntry]
  ) -> [DirtyBitmap] {
    let names = entries.map { String(decoding: $0.name.bytes, as: UTF8.self) }
    let known = names.compactMap { name in bitmaps.first { $0.name == name } }
    return known + bitmaps.filter { bitmap in !names.contains { $0 == bitmap.name } }
  }

  /// Removes one bitmap from the image, in one atomic switch.
  ///
  /// In an image that was not written since the bitmaps were stored, those that commands have
  /// changed since are stored by the same switch: what one of them was given of the removed
  /// bitmap's bits must not be lost with it. They lose none themselves: a transaction that a crash
  /// cuts off leaves too many bits, which is safe; `storeBitmaps` leaves the right ones. None is
  /// claimed: the rest stays as it is.
  public func removeStoredBitmap(
    named name: String, keeping bitmaps: [DirtyBitmap]
  ) async throws(BlockError) {
    let bytes = Array(name.utf8)
    // Under the lock: a store that began before may be about to put it in.
    let isThere = try await commitLock.withLock { () async throws(BlockError) in
      try await directoryEntries().contains { $0.name.bytes == bytes }
    }
    guard isThere else { return }
    try await prepareHeader()
    try await commitLock.withLock { () async throws(BlockError) in
      let others = try await directoryEntries().filter { $0.name.bytes != bytes }
      // In an image that is being written all are in use: a crash leaves none of them to be
      // trusted. In another no write is beyond its claim, so that all bits are recorded.
      if isPrepared.load(ordering: .acquiring) {
        try await switchDirectory(to: others)
      } else {
        try await switchDirectory(storing: bitmaps, over: others, keepsBits: true)
      }
    }
  }

  // MARK: - Bits

  /// The bits of a stored bitmap that has `granularity`; nil where they are worthless.
  private func readBits(
    _ entry: BitmapDirectoryEntry?, granularity: Int
  ) async throws(BlockError) -> HierarchicalBitmap? {
    guard let entry, !entry.flags.contains(.inUse), entry.granularity == granularity else {
      return nil
    }
    var places = BitmapPlaces(geometry: geometry)
    do {
      return try await readBits(entry, &places)
    } catch let error as BlockError {
      throw error
    } catch {
      throw BlockError(.bitmap, "\(error)", cause: error)
    }
  }

  /// Writes the bits and the table of one bitmap, with those of `others`, to new clusters.
  private func write(
    _ bitmap: DirtyBitmap, named name: String, with others: HierarchicalBitmap?
  ) async throws(BlockError) -> BitmapDirectoryEntry {
    let granularityBits = bitmap.granularity.trailingZeroBitCount
    let sizes = BitmapSizes(virtualSize: length, granularityBits: granularityBits)
    guard sizes.isStorable(geometry: geometry) else {
      throw BlockError(
        .bitmap, "Too much space will be occupied by the bitmap '\(name)'. Use larger granularity")
    }
    let clusterSize = geometry.clusterSize
    var table: [UInt64] = []
    do throws(BlockError) {
      for index in 0..<sizes.tableEntryCount(geometry: geometry) {
        let chunk = ByteRange(offset: index * clusterSize, count: clusterSize)
        guard let bytes = bitmap.serialize(chunk, with: others) else {
          table.append(BitmapTableEntry(.allZeros).rawValue)
          continue
        }
        let place = try await writeMetadata(bytes, as: .bitmapData)
        table.append(BitmapTableEntry(.data(place)).rawValue)
      }
      let offset = try await writeMetadata(encodeTable(table), as: .bitmapTable)
      return BitmapDirectoryEntry(
        name: EmbeddedName(bytes: Array(name.utf8)), granularityBits: granularityBits,
        flags: bitmap.isEnabled ? .auto : [], tableOffset: offset, tableEntryCount: table.count)
    } catch {
      for value in table {
        if case .data(let offset) = BitmapTableEntry(rawValue: value).kind(geometry: geometry) {
          try? await giveBack(offset.value >> geometry.clusterBits, 1)
        }
      }
      throw error
    }
  }

  /// Whether the image has anything else than exactly `bitmaps`.
  private func needsStoring(_ bitmaps: [DirtyBitmap]) async throws(BlockError) -> Bool {
    let entries = try await directoryEntries()
    guard entries.count == bitmaps.count else { return true }
    for entry in entries {
      let name = String(decoding: entry.name.bytes, as: UTF8.self)
      guard let bitmap = bitmaps.first(where: { $0.name == name }) else { return true }
      if bitmap.isInconsistent || bitmap.isBeingRemoved { continue }
      guard try await isCurrent(entry, bitmap) else { return true }
    }
    return false
  }

  /// Whether the entry is what would be written for `bitmap`.
  private func isCurrent(
    _ entry: BitmapDirectoryEntry, _ bitmap: DirtyBitmap
  ) async throws(BlockError) -> Bool {
    guard !entry.flags.contains(.inUse), bitmap.isEnabled == entry.flags.contains(.auto),
      bitmap.granularity == entry.granularity
    else { return false }
    return try await isStored(bitmap, as: entry)
  }

  private func isStored(_ bitmap: DirtyBitmap, as entry: BitmapDirectoryEntry)
    async throws(BlockError) -> Bool
  {
    let table = try await Self.readTable(entry.tableRange, of: file.node)
    let clusterSize = geometry.clusterSize
    var buffer = IOBuffer(byteCount: clusterSize)
    for (index, value) in table.enumerated() {
      let bits = bitmap.serialize(ByteRange(offset: index * clusterSize, count: clusterSize))
      switch BitmapTableEntry(rawValue: value).kind(geometry: geometry) {
      case .allZeros: if bits != nil { return false }
      case .data(let offset):
        guard let bits else { return false }
        var bytes = buffer.mutableBytes
        try await file.node.read(
          ByteRange(offset: offset.value, count: clusterSize), into: &bytes)
        guard bytes.bytes.elementsEqual(bits.span.bytes) else { return false }
      default: return false
      }
    }
    return true
  }
}

extension DirtyBitmap {
  /// The bytes `chunk` of the serialised form; nil when no granule in them is set.
  ///
  /// While a job works from the bits, what was written since it began is stored with them: whatever
  /// becomes of the job, the image lacks no change.
  fileprivate func serialize(
    _ chunk: ByteRange, with others: HierarchicalBitmap? = nil
  ) -> [UInt8]? {
    let more = others.flatMap { Self.serialize($0, chunk) }
    return withRecordedBits { bits, successor in
      let later = successor.flatMap { Self.serialize($0, chunk) }
      return Self.union(Self.union(Self.serialize(bits, chunk), later), more)
    }
  }

  private static func union(_ one: [UInt8]?, _ other: [UInt8]?) -> [UInt8]? {
    guard var bytes = one, let other else { return one ?? other }
    for index in other.indices { bytes[index] |= other[index] }
    return bytes
  }

  private static func serialize(_ bits: HierarchicalBitmap, _ chunk: ByteRange) -> [UInt8]? {
    if bits.chunkContent(chunk) == .allZero { return nil }
    var bytes = [UInt8](repeating: 0, count: chunk.count)
    var span = bytes.mutableSpan
    var raw = span.mutableBytes
    bits.serialize(atByte: chunk.lower, into: &raw)
    return bytes
  }
}
