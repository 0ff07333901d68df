internal import BlockLayer
internal import Execution
internal import Primitives
internal import SystemPackage

/// A folder of backups of one disk: `000000.qcow2`, `000001.qcow2`, … Each is an ordinary qcow2
/// file.
///
/// A full backup stands alone; an incremental one has the file before it as its backing file, by
/// its name alone, so that the folder can be moved.
///
/// The disk has a persistent bitmap `lamina.CHAIN.N.RUN`, which records what was written since
/// backup N. CHAIN is the folder's identity, kept in its file `chain`; RUN is that of the run that
/// made the backup, whose file names it by an empty bitmap. So what a run left that came to
/// nothing, on this disk or another, is never taken for what was written since a backup.
///
/// A run, and what a kill after each step leaves to the next run:
/// 1. The disk is opened for writing, which locks it: nobody else writes until the run ends.
/// 2. Bitmap N+1, empty and recording, is stored beside N. Killed: the folder's last backup is N,
/// and
///    bitmap N is there: the next run is incremental from N; the N+1 of this run is thrown away.
/// 3. What N marks is copied to a temporary file. Killed: likewise; the temporary file is removed.
/// 4. The file is durable; it gets its name; the folder is durable. Killed: the last backup is N+1,
///    and bitmap N+1 has recorded since step 2, in which time nobody wrote: the next run is
///    incremental from N+1.
/// 5. Bitmap N is removed.
///
/// An error after any step is like a kill there: the job takes nothing from bitmap N, which loses
/// its bits in step 5 alone. Two runs keep apart by a lock on the file `chain`.
///
/// So a backup never lacks a change. Where the bitmap of the last backup is missing, or its bits
/// are lost, the next backup is a full one, and the reason is told.
struct BackupFolder: Sendable {
  let folder: HostFolder
  let graph: BlockGraph
  /// What tells this folder's bitmaps from those of others: 16 hexadecimal digits.
  let chain: String

  /// The name of the file that says the chain's identity.
  private static let chainFile = "chain"

  private init(folder: HostFolder, graph: BlockGraph, chain: String) {
    self.folder = folder
    self.graph = graph
    self.chain = chain
  }

  /// Opens the folder; makes it, if `creating`.
  static func open(
    _ path: FilePath, in graph: BlockGraph, creating: Bool = false
  ) async throws(BlockError) -> BackupFolder {
    let folder = HostFolder(path: path)
    if creating { try folder.make() }
    if let known = try await readLine(chainFile, in: folder, atMost: 64) {
      guard known.count == 16, known.allSatisfy(\.isHexDigit) else {
        throw BlockError(
          .invalidImage, "'\(path.appending(chainFile))' does not name a chain: it is damaged")
      }
      return BackupFolder(folder: folder, graph: graph, chain: known)
    }
    guard creating else {
      throw BlockError(.notFound, "'\(path)' is no folder of backups: it has no file 'chain'")
    }
    guard try folder.names().allSatisfy({ number(of: $0) == nil }) else {
      throw BlockError(
        .invalidImage,
        "'\(path)' has backups, but no file 'chain' that says of which disk; use another folder")
    }
    let chain = newIdentity(graph.world)
    try await writeLine(chain, to: path.appending(".chain.partial"))
    try folder.rename(".chain.partial", to: chainFile)
    return BackupFolder(folder: folder, graph: graph, chain: chain)
  }

  /// Runs `body` while no other run makes a backup in the folder.
  func locked<T>(_ body: () async throws(BlockError) -> T) async throws(BlockError) -> T {
    let lock: FileDriver
    do throws(BlockError) {
      lock = try FileDriver.open(
        folder.path.appending(Self.chainFile), OpenOptions(format: "file"))
    } catch {
      guard error.code == .inUse else { throw error }
      throw BlockError(
        .inUse,
        "another run is making a backup in '\(folder.path)'; wait until it has ended", cause: error)
    }
    do throws(BlockError) {
      let result = try await body()
      try await lock.close()
      return result
    } catch {
      try? await lock.close()
      throw error
    }
  }

  // MARK: - Names

  /// The name of backup `number`'s file.
  static func fileName(_ number: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".qcow2"
  }

  /// The number of the backup whose file is called `name`.
  private static func number(of name: String) -> Int? {
    guard name.hasSuffix(".qcow2") else { return nil }
    let stem = name.dropLast(".qcow2".count)
    guard (6...18).contains(stem.count), stem.allSatisfy({ $0.isNumber && $0.isASCII }) else {
      return nil
    }
    return Int(stem)
  }

  /// How the name begins of the bitmap that records what is written after backup `number`.
  func bitmapPrefix(_ number: Int) -> String { "lamina.\(chain).\(number)." }

  /// The numbers of the backups, ascending.
  func numbers() throws(BlockError) -> [Int] { try folder.names().compactMap(Self.number).sorted() }

  /// The path of backup `number`'s file.
  func path(_ number: Int) -> FilePath { folder.path.appending(Self.fileName(number)) }

  /// Opens backup `number`, with the files below it; nothing outside the folder is opened.
  func open(_ number: Int) async throws(BlockError) -> BlockNode {
    try await graph.open(path(number), OpenOptions(format: "qcow2", readOnly: true))
  }

  // MARK: - Small files

  /// The first line of a small file; nil when the folder has none of that name.
  private static func readLine(
    _ name: String, in folder: HostFolder, atMost limit: Int
  ) async throws(BlockError) -> String? {
    guard folder.has(name) else { return nil }
    // A run that holds the lock below does not write to the file.
    let options = OpenOptions(format: "raw", readOnly: true, locking: .forceShare)
    let driver = try FileDriver.open(folder.path.appending(name), options)
    var buffer = IOBuffer(byteCount: limit)
    var bytes = buffer.mutableBytes
    try await driver.read(ByteRange(0, limit), into: &bytes)
    try await driver.close()
    let line = bytes.bytes.toArray().prefix { $0 != 0x0a && $0 != 0 }
    return String(decoding: line, as: UTF8.self)
  }

  private static func writeLine(_ text: String, to path: FilePath) async throws(BlockError) {
    let driver = try FileDriver.create(path, existing: .replace)
    let bytes = Array((text + "\n").utf8)
    try await driver.write(ByteRange(0, bytes.count), from: bytes.span.bytes)
    try await driver.sync()
    try await driver.close()
  }

  /// 64 random bits, in hexadecimal: two chains, or two runs, never have the same by chance.
  static func newIdentity(_ world: World) -> String {
    let digits = String(world.entropy(), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
