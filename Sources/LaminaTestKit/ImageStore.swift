public import BlockTestKit
internal import Execution
public import Lamina
internal import Synchronization
public import SystemPackage

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A folder of images: on simulated disks in memory, or in real files that go away with it.
///
/// Names of images are relative to the folder, and so are the names of backing files in them: both
/// kinds are opened in the same way, by name.
public final class ImageStore: Sendable {
  /// Where the images lie.
  public enum Place: Sendable {
    /// On simulated disks, which fail and wait as one likes.
    case memory
    /// In real files, in a new folder inside of this one.
    case files(in: FilePath)
  }

  /// The folder.
  public let folder: FilePath
  /// The drivers: the standard ones, with host files as this store has them.
  public let registry: DriverRegistry
  private let world: World
  private let disks: MemoryFiles?

  private static let folders = Atomic<Int>(0)

  /// Makes an empty folder.
  public init(_ place: Place, in world: World) throws(BlockError) {
    self.world = world
    switch place {
    case .memory:
      let disks = MemoryFiles()
      var registry = DriverRegistry.standard
      registry.setHostFiles { path, _ throws(BlockError) in try disks.find(path) }
      registry.setHostFileCreation { path, existing throws(BlockError) in
        try disks.make(path, existing, in: world)
      }
      self.disks = disks
      self.registry = registry
      folder = "/simulated"
    case .files(let parent):
      let number = Self.folders.add(1, ordering: .relaxed).newValue
      folder = parent.appending("lamina-lab-\(getpid())-\(number)")
      try HostFolder(path: folder).make()
      registry = .standard
      disks = nil
    }
  }

  /// The path of an image, there or not.
  public func path(_ name: String) -> FilePath { folder.appending(name) }

  /// The simulated disk that an image lies on: for its faults and its contents.
  ///
  /// Nil for real files, and for names that are not there.
  public func simulatedDisk(_ name: String) -> SimulatedDisk? { disks?[path(name)] }

  /// Makes an empty qcow2 image, durably; an image of that name must not be there.
  ///
  /// `backing` is the name of the image that shows through where the new one has nothing.
  public func create(
    _ name: String, length: Int, clusterSize: Int = 65536, backing: String? = nil
  ) async throws(BlockError) {
    var options = NewImageOptions(virtualSize: length)
    options.clusterSize = clusterSize
    options.backingFileName = backing.map { EmbeddedName($0) }
    options.backingFormat = backing.map { _ in "qcow2" }
    let graph = BlockGraph(world: world, registry: registry, policy: .none)
    if let disks {
      let node = try graph.addNode(disks.make(path(name), .refuse, in: world))
      try await Qcow2Driver.create(options, in: node)
      try await graph.close(node)
    } else {
      try await graph.createQcow2(at: path(name), options)
    }
  }

  /// Removes an image; nothing happens when it is not there.
  public func remove(_ name: String) throws(BlockError) {
    disks?[path(name)] = nil
    if disks == nil { try HostFolder(path: folder).remove(name) }
  }

  /// Whether an image of that name is there.
  public func has(_ name: String) -> Bool {
    disks.map { $0[path(name)] != nil } ?? HostFolder(path: folder).has(name)
  }

  /// Removes every image, and the folder.
  public func removeAll() {
    if let disks { return disks.removeAll() }
    let host = HostFolder(path: folder)
    for name in (try? host.names()) ?? [] { try? host.remove(name) }  // what stays keeps the folder
    _ = folder.withPlatformString { rmdir($0) }
  }
}

/// Host files in memory, by path.
private final class MemoryFiles: Sendable {
  private let disks = Mutex<[FilePath: SimulatedDisk]>([:])

  subscript(path: FilePath) -> SimulatedDisk? {
    get { disks.withLock { $0[path] } }
    set { disks.withLock { $0[path] = newValue } }
  }

  func removeAll() { disks.withLock { $0 = [:] } }

  func make(
    _ path: FilePath, _ existing: FileDriver.Existing, in world: World
  ) throws(BlockError) -> SimulatedDisk {
    if case .refuse = existing, self[path] != nil {
      throw .host(.fileExists, "Could not create '\(path)'")
    }
    let disk = SimulatedDisk(in: world, forgets: false)
    self[path] = disk
    return disk
  }

  func find(_ path: FilePath) throws(BlockError) -> any BlockDriver {
    guard let disk = self[path] else {
      throw .host(.noSuchFileOrDirectory, "Could not open '\(path)'")
    }
    return disk
  }
}
