public import BlockLayer
internal import Execution
internal import Primitives
public import SystemPackage

/// A folder of backups of one disk: `000000.qcow2`, `000001.qcow2`, … and the manifest
/// `chain.json`.
///
/// Each backup is an ordinary qcow2 file. A full one stands alone and begins a *segment*; an
/// incremental one has the file before it as its backing file, by its name alone, so that the
/// folder can be moved.
///
/// The disk has a persistent bitmap `lamina.CHAIN.N.RUN`, which records what was written since
/// backup N. CHAIN is the chain's identity; RUN is that of the run that made the backup, whose file
/// names it by an empty bitmap. So the manifest can be rebuilt from the files, and what a run left
/// that came to nothing, on this disk or another, is never taken for what was written since a
/// backup. The bitmap starts with some granules marked (`Sentinels`): where one is clear somebody
/// cleared the bitmap, and it proves nothing.
///
/// A run, and what a kill after each step leaves to the next run:
/// 1. The disk is opened for writing, which locks it: nobody else writes until the run ends.
/// 2. Bitmap N+1 is stored beside N, in one atomic switch. Killed: the last backup is N and its
///    bitmap is there: the next run is incremental from N; the N+1 of this run is thrown away.
/// 3. What N marks is copied to a temporary file. Killed: likewise; the temporary file is removed.
/// 4. The file is durable; it gets its name; the folder is durable. Killed: the last backup is N+1,
///    which the manifest learns from the file; bitmap N+1 has recorded since step 2, in which time
///    nobody wrote: the next run is incremental from N+1.
/// 5. The manifest names it. Killed: likewise.
/// 6. Bitmap N is removed.
///
/// An error after any step is like a kill there: the job takes nothing from bitmap N, which loses
/// its bits in step 6 alone. Two runs keep apart by a lock on the file `.lock`.
///
/// Use it inside `world.run { … }` of the graph's World.
public struct BackupChain: Sendable {
  /// The folder.
  public let folder: any FileFolder
  /// The graph in which disks and backups are opened.
  public let graph: BlockGraph

  /// The chain in a folder of the host, whether or not it is there.
  public init(at path: FilePath, in graph: BlockGraph) {
    self.init(in: HostFolder(path: path), graph)
  }

  /// The chain in `folder`, whether or not it is there.
  ///
  /// The graph must find the folder's files by their paths.
  public init(in folder: any FileFolder, _ graph: BlockGraph) {
    self.folder = folder
    self.graph = graph
  }

  // MARK: - Names

  static let lockFile = ".lock"

  /// The name of backup `number`'s file.
  public static func fileName(_ number: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, 6 - digits.count)) + digits + ".qcow2"
  }

  /// The number of the backup whose file is called `name`.
  static func number(of name: String) -> Int? {
    guard name.hasSuffix(".qcow2") else { return nil }
    let stem = name.dropLast(".qcow2".count)
    guard (6...10).contains(stem.count), stem.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
      return nil
    }
    return Int(stem).flatMap {
      fileName($0) == name && $0 <= ChainLimits.maximumNumber ? $0 : nil
    }
  }

  /// The name of a backup's file while it is made.
  static func partialName(_ number: Int) -> String { ".\(fileName(number)).partial" }

  /// The path of backup `number`'s file.
  public func path(_ number: Int) -> FilePath { folder.path.appending(Self.fileName(number)) }

  // MARK: - Common steps

  /// Runs `body` while no other run changes the folder.
  func locked<T>(_ body: () async throws(BlockError) -> T) async throws(BlockError) -> T {
    let lock: any BlockDriver
    do throws(BlockError) {
      lock = try folder.lock(Self.lockFile)
    } catch {
      guard error.code == .inUse else { throw error }
      throw BlockError(
        .inUse, "another run is at work in '\(folder.path)'; wait until it has ended", cause: error)
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

  /// Runs `body` with backup `number` open, read-only, with the files below it unless `alone`.
  ///
  /// Nothing outside the folder is opened.
  func withBackup<T>(
    _ number: Int, alone: Bool = false, _ body: (BlockNode) async throws(BlockError) -> T
  ) async throws(BlockError) -> T {
    let options = OpenOptions(
      format: "qcow2", readOnly: true, backing: alone ? .ignore : .fromImage)
    return try await withNode(path(number), options, body)
  }

  /// Runs `body` with an image open, and closes it whatever happens.
  func withNode<T>(
    _ path: FilePath, _ options: OpenOptions, _ body: (BlockNode) async throws(BlockError) -> T
  ) async throws(BlockError) -> T {
    let node: BlockNode
    do throws(BlockError) {
      node = try await graph.open(path, options)
    } catch {
      throw error.message.hasPrefix("Could not open")
        ? error : error.prefixed("Could not open '\(path)'")
    }
    do throws(BlockError) {
      let result = try await body(node)
      try await graph.close(node)
      return result
    } catch {
      try? await graph.close(node)
      throw error
    }
  }

  /// Removes a file that a run left behind, if it can be.
  func discard(_ name: String) { try? folder.remove(name) }
}
