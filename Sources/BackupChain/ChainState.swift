internal import BlockLayer
internal import FoundationEssentials
internal import Primitives
internal import SystemPackage

/// A chain as its folder shows it: the manifest, put right by what the files say.
struct ChainState: Sendable {
  var manifest: Manifest
  /// What was found out of order, and put right; each a sentence.
  var notes: [String] = []
  /// The listed backups whose files are not there.
  var missing: Set<Int> = []
}

extension BackupChain {
  /// A manifest longer than this is none: a million backups need less.
  private static let maximumManifestByteCount = 512 << 20

  /// Reads the folder.
  ///
  /// Nil when it has no chain. Backups that the manifest does not know, because a run was killed
  /// before it was written, are found by their files; a manifest that is missing or damaged is
  /// rebuilt from them. Nothing is written.
  func load() async throws(BlockError) -> ChainState? {
    let names: [String]
    do throws(BlockError) {
      names = try folder.names()
    } catch {
      if error.errno == .noSuchFileOrDirectory { return nil }
      throw error
    }
    let numbers = names.compactMap(Self.number).sorted()
    var state: ChainState
    if names.contains(Manifest.fileName) {
      switch try await readManifest() {
      case .good(let manifest): state = ChainState(manifest: manifest)
      case .damaged(let problem):
        let note = "the manifest '\(Manifest.fileName)' is damaged (\(problem)): rebuilt from files"
        guard let rebuilt = try await rebuild(numbers, note) else {
          throw BlockError(
            .invalidImage,
            "'\(folder.path.appending(Manifest.fileName))' is damaged (\(problem)), and no backup "
              + "is there to rebuild it from; remove it to begin a new chain")
        }
        state = rebuilt
      }
    } else {
      let note = "the manifest '\(Manifest.fileName)' is missing: rebuilt from files"
      guard let rebuilt = try await rebuild(numbers, note) else { return nil }
      state = rebuilt
    }
    try await settleReplacements(numbers, in: &state)
    try await addUnlisted(numbers, to: &state)
    state.missing = Set(state.manifest.backups.map(\.number)).subtracting(numbers)
    return state
  }

  /// `load()`, for verbs that need a chain.
  func loadExisting() async throws(BlockError) -> ChainState {
    guard let state = try await load() else {
      throw BlockError(
        .notFound,
        "'\(folder.path)' is no folder of backups: it has neither '\(Manifest.fileName)' nor "
          + "backups")
    }
    return state
  }

  // MARK: - The manifest's file

  private enum ManifestFile {
    case good(Manifest)
    case damaged(String)
  }

  private func readManifest() async throws(BlockError) -> ManifestFile {
    let driver = try folder.openForReading(Manifest.fileName)
    let bytes: [UInt8]
    do throws(BlockError) {
      guard driver.length <= Self.maximumManifestByteCount else {
        throw BlockError(.invalidImage, "the manifest is too large")
      }
      var buffer = IOBuffer(byteCount: driver.length)
      var span = buffer.mutableBytes
      try await driver.read(ByteRange(0, driver.length), into: &span)
      bytes = span.bytes.toArray()
      try await driver.close()
    } catch {
      try? await driver.close()
      throw error.prefixed("Could not read the manifest of '\(folder.path)'")
    }
    // A file's length is rounded up to sectors with zeros.
    let text = Data(bytes.prefix { $0 != 0 })
    guard let version = try? JSONDecoder().decode(VersionOnly.self, from: text) else {
      return .damaged("it is no JSON object of the kind")
    }
    guard version.version <= Manifest.currentVersion else {
      throw BlockError(
        .unsupported,
        "'\(folder.path)' was written by a newer lamina (its manifest has version "
          + "\(version.version), this lamina knows \(Manifest.currentVersion)); use that one")
    }
    guard let manifest = try? JSONDecoder().decode(Manifest.self, from: text) else {
      return .damaged("values are missing or of the wrong kind")
    }
    if let problem = manifest.problem { return .damaged(problem) }
    return .good(manifest)
  }

  private struct VersionOnly: Decodable { var version: Int }

  /// Writes the manifest, durably, in one atomic switch.
  func write(_ manifest: Manifest) async throws(BlockError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let text = try? encoder.encode(manifest) else {
      throw BlockError(.io, "the manifest could not be written as JSON")
    }
    let partial = ".\(Manifest.fileName).partial"
    do throws(BlockError) {
      let driver = try folder.create(partial)
      do throws(BlockError) {
        let bytes = Array(text) + [0x0a]
        try await driver.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
        try await driver.sync()
        try await driver.close()
      } catch {
        try? await driver.close()
        throw error
      }
      try folder.rename(partial, to: Manifest.fileName)
    } catch {
      discard(partial)
      throw error.prefixed("Could not write the manifest of '\(folder.path)'")
    }
  }

  // MARK: - From the files

  private func rebuild(_ numbers: [Int], _ note: String) async throws(BlockError) -> ChainState? {
    for number in numbers {
      guard let name = try? await identity(number)?.name else { continue }
      return ChainState(manifest: Manifest(chain: name.chain), notes: [note])
    }
    if let first = numbers.first {
      throw BlockError(
        .invalidImage,
        "'\(folder.path)' has '\(Self.fileName(first))', but nothing says that it is a backup of "
          + "a chain; use another folder")
    }
    return nil
  }

  /// Finds out whether what a prune that was killed was about to put in a file's place is there.
  private func settleReplacements(
    _ numbers: [Int], in state: inout ChainState
  ) async throws(BlockError) {
    for (index, backup) in state.manifest.backups.enumerated() where backup.replacement != nil {
      guard numbers.contains(backup.number) else { continue }
      let isThere = try await identity(backup.number)?.backup.kind == .full
      if isThere {
        state.manifest.backups[index] = backup.replaced
      } else {
        state.manifest.backups[index].replacement = nil
      }
    }
  }

  /// Adds the backups that have files, but are not in the manifest.
  ///
  /// Older ones are what a prune that was killed has left to be removed.
  private func addUnlisted(_ numbers: [Int], to state: inout ChainState) async throws(BlockError) {
    let known = Set(state.manifest.backups.map(\.number))
    let first = state.manifest.backups.first?.number ?? 0
    for number in numbers where number >= first && !known.contains(number) {
      let found: (name: TrackingName, backup: Manifest.Backup)?
      do throws(BlockError) {
        found = try await identity(number)
      } catch {
        throw error.prefixed(
          "'\(Self.fileName(number))' is not in the manifest and cannot be opened; "
            + "move it away if it is no backup")
      }
      guard let found, found.name.chain == state.manifest.chain, found.name.number == number else {
        throw BlockError(
          .invalidImage,
          "'\(path(number))' is not a backup of this chain; move it to another folder")
      }
      state.manifest.backups.append(found.backup)
      if state.notes.isEmpty {
        state.notes.append("backup \(number) was made by a run that did not end: it is complete")
      }
    }
    state.manifest.backups.sort { $0.number < $1.number }
  }

  /// What backup `number`'s file says of itself; nil when it does not say which backup it is.
  private func identity(
    _ number: Int
  ) async throws(BlockError) -> (name: TrackingName, backup: Manifest.Backup)? {
    try await withBackup(number, alone: true) { node throws(BlockError) in
      guard let name = node.ownTrackingName else { return nil }
      let recorded = (node.driver as? any BackingFileImage)?.recordedBacking
      return (
        name,
        Manifest.Backup(
          number: number, kind: recorded == nil ? .full : .incremental, run: name.run,
          size: node.length)
      )
    }
  }
}
