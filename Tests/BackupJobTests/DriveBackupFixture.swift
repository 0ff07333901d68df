import BackupJob
import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import ImageOps
import Lamina
import Primitives
import SystemPackage
import Testing

#if canImport(Glibc)
import Glibc
#endif

/// A folder for one test, removed with it.
final class ScratchFolder: Sendable {
  let path: FilePath

  init() {
    var template = Array("/tmp/lamina-drive-backup-XXXXXX".utf8CString)
    template.withUnsafeMutableBufferPointer { name in
      _ = name.baseAddress.map { mkdtemp($0) }
    }
    path = FilePath(platformString: template)
  }

  deinit {
    let names = (try? FolderListing.names(in: path)) ?? []
    for name in names { unlink(path.appending(name).string) }
    rmdir(path.string)
  }
}

/// The names in a folder.
enum FolderListing {
  static func names(in folder: FilePath) throws -> [String] {
    guard let stream = opendir(folder.string) else { throw Errno(rawValue: errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}

/// A disk `drive0` in a qcow2 image over a base image, in host files.
struct DriveBackupFixture: Sendable {
  static let length = 4 << 20

  let folder = ScratchFolder()
  let graph: BlockGraph
  let jobs: JobRegistry
  let node: BlockNode
  let guest: BlockBackend

  /// The base has the first MiB, the disk's own image the second.
  init(_ world: World, hasBacking: Bool = true) async throws {
    graph = BlockGraph(world: world)
    jobs = JobRegistry(graph: graph)
    let base = folder.path.appending("base.qcow2")
    let top = folder.path.appending("disk.qcow2")
    var image = NewImage(length: Self.length)
    if hasBacking {
      try await graph.createImage(at: base, format: "qcow2", image)
      let node = try await graph.open(base, OpenOptions(format: "qcow2"))
      let guest = try BlockBackend(node, in: graph)
      try await guest.fill(1, at: 0, count: 1 << 20)
      await guest.close()
      try await graph.close(node)
      image.backing = RecordedBacking(name: "base.qcow2", format: "qcow2")
    }
    try await graph.createImage(at: top, format: "qcow2", image)
    node = try await graph.open(top, OpenOptions(format: "qcow2", nodeName: "n0"))
    guest = try BlockBackend(node, in: graph, name: "drive0")
    try await guest.fill(2, at: 1 << 20, count: 1 << 20)
  }

  func file(_ name: String) -> FilePath { folder.path.appending(name) }

  func spec(
    _ sync: BackupSpec.Sync, to name: String = "t", format: String? = nil,
    mode: DriveBackupSpec.Mode = .absolutePaths
  ) -> DriveBackupSpec {
    DriveBackupSpec(
      source: "drive0", target: file(name), sync: sync, format: format, mode: mode)
  }

  /// The byte at the beginning of each MiB of an image, opened by itself; with what it records.
  func contents(
    _ name: String, format: String = "qcow2"
  ) async throws -> (bytes: [UInt8], backing: RecordedBacking?) {
    let graph = BlockGraph(world: graph.world)
    var options = OpenOptions(format: format, readOnly: true)
    options.locking = .forceShare
    let node = try await graph.open(file(name), options)
    let disk = try BlockBackend(node, in: graph)
    var bytes: [UInt8] = []
    for index in 0..<4 { bytes += try await disk.read(at: index << 20, count: 1) }
    let backing = (node.driver as? any BackingFileImage)?.recordedBacking
    try await graph.closeDisk(disk)
    return (bytes, backing)
  }

  /// Whether nothing is left of a job: no node but those of the disk.
  var isAtRest: Bool {
    jobs.jobs.isEmpty && guest.node === node && node.bitmaps.all.allSatisfy { !$0.isBusy }
      && graph.nodes.count == (node.backing == nil ? 2 : 4)
  }

  func refused(_ text: String, _ spec: DriveBackupSpec) async {
    do throws(JobError) {
      _ = try await jobs.driveBackup(spec)
      Issue.record("not refused: \(text)")
    } catch {
      let message = error.message.replacing(folder.path.string, with: "DIR")
      #expect(message == text)
    }
    #expect(isAtRest, "\(text): \(graph.nodes.map(\.name))")
  }
}
