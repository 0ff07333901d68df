import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2

/// A qcow2 image on a simulated disk, open in a graph of its own.
struct SnapshotImage: Sendable {
  let disk: SimulatedDisk
  let graph: BlockGraph
  let node: BlockNode
  let door: BlockBackend

  /// Makes an image.
  static func create(
    _ options: NewImageOptions, in world: World
  ) async throws -> SparseImage {
    let disk = SimulatedDisk(in: world, schedulingPoints: false, forgets: false)
    let graph = Self.graph(in: world)
    let file = try graph.addNode(disk, name: "file")
    try await Qcow2Driver.create(options, in: file)
    return disk.visibleImage
  }

  /// Opens an image on a disk of its own.
  init(
    _ image: SparseImage, in world: World, readOnly: Bool = false,
    at snapshot: SnapshotReference? = nil, forgets: Bool = true, backing: SparseImage? = nil
  ) async throws {
    disk = SimulatedDisk(image, in: world, schedulingPoints: false, forgets: forgets)
    graph = Self.graph(in: world)
    let file = try graph.addNode(
      disk, name: "file", options: NodeOptions(isReadOnly: readOnly, discard: .unmap))
    var options = OpenOptions(
      format: "qcow2", readOnly: readOnly, backing: .ignore, discard: .unmap)
    options.snapshot = snapshot
    if let backing {
      let below = SimulatedDisk(backing, in: world, schedulingPoints: false)
      options.backing = .node(
        try graph.addNode(below, name: "base", options: NodeOptions(isReadOnly: true)))
    }
    node = try await graph.open(file: file, options)
    door = try BlockBackend(node, in: graph)
  }

  /// Makes an image on `disk`, and opens it.
  init(disk: SimulatedDisk, options: NewImageOptions, in world: World) async throws {
    self.disk = disk
    graph = Self.graph(in: world)
    let file = try graph.addNode(disk, name: "file", options: NodeOptions(discard: .unmap))
    try await Qcow2Driver.create(options, in: file)
    node = try await graph.open(
      file: file, OpenOptions(format: "qcow2", backing: .ignore, discard: .unmap))
    door = try BlockBackend(node, in: graph)
  }

  private static func graph(in world: World) -> BlockGraph {
    var registry = DriverRegistry()
    registry.addFormat("qcow2") { (node, context) throws(BlockError) in
      try await Qcow2Driver.open(node, context)
    }
    return BlockGraph(world: world, registry: registry, policy: .none)
  }

  /// Closes the image.
  func close() async throws {
    await door.close()
    try await graph.close(node)
  }

  var contents: [UInt8] {
    get async throws { try await door.read(at: 0, count: door.length) }
  }
}

/// All that an image file says: the disk, and each of its snapshots.
struct ImageStory: Equatable, Sendable {
  struct Frozen: Equatable, Sendable {
    var id: String
    var name: String
    var contents: [UInt8]
  }
  var disk: [UInt8]
  var snapshots: [Frozen] = []
  var leaks = 0

  struct Problem: Error {
    let text: String
  }

  static func == (one: ImageStory, other: ImageStory) -> Bool {
    one.disk == other.disk && one.snapshots == other.snapshots
  }

  /// Reads the story of an image, and checks it.
  init(of image: SparseImage, in world: World, backing: SparseImage? = nil) async throws {
    let now = try await SnapshotImage(image, in: world, readOnly: true, backing: backing)
    disk = try await now.contents
    guard let driver = now.node.driver as? Qcow2Driver else { throw Problem(text: "no qcow2") }
    let found = try await driver.check()
    guard found.corruptions == 0, found.checkErrors == 0, found.isComplete else {
      throw Problem(
        text: "\(found.corruptions) corruptions, \(found.checkErrors) errors: "
          + found.messages.prefix(4).joined(separator: "; "))
    }
    leaks = found.leaks
    for snapshot in try await driver.snapshots() {
      let then = try await SnapshotImage(
        image, in: world, readOnly: true, at: .id(snapshot.id), backing: backing)
      snapshots.append(
        Frozen(id: snapshot.id, name: snapshot.name, contents: try await then.contents))
      try await then.close()
    }
    try await now.close()
    guard now.disk.count(of: .changes) == 0 else { throw Problem(text: "reading wrote") }
  }

  /// In what it differs from `other`, in words; nil if in nothing.
  func difference(from other: ImageStory) -> String? {
    if disk != other.disk {
      let place = zip(disk, other.disk).enumerated().first { $1.0 != $1.1 }?.offset
      return "disks of \(disk.count) and \(other.disk.count) bytes differ at \(place ?? -1)"
    }
    let names = (snapshots.map(\.name), other.snapshots.map(\.name))
    if names.0 != names.1 { return "snapshots \(names.0) and \(names.1)" }
    for (one, another) in zip(snapshots, other.snapshots) where one != another {
      return "snapshot \(one.id) '\(one.name)' differs"
    }
    return nil
  }
}
