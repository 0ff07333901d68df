import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Testing

/// Random lives of images with snapshots, beside a model of each.
@Suite struct SnapshotModelTests {
  typealias Geometry = (clusterSize: Int, refcountBits: Int, version: FormatVersion)
  static let geometries: [Geometry] = [
    (512, 64, .v3), (512, 16, .v2), (512, 2, .v3), (4096, 4, .v3), (65536, 16, .v3),
    (1024, 8, .v3), (512, 32, .v3),
  ]

  @Test(arguments: 0..<28)
  func snapshotsStayWhatTheyWereWhateverIsDoneToTheDisk(seed: Int) async throws {
    let geometry = Self.geometries[seed % Self.geometries.count]
    let world = World.simulated(seed: UInt64(seed))
    let problem = try await world.run { () async throws -> String? in
      var life = try await Life(geometry, in: world, isOverlay: seed % 3 == 0)
      for round in 0..<4 {
        for step in 0..<8 {
          if let problem = try await life.step() { return "round \(round).\(step): \(problem)" }
        }
        if let problem = try await life.reopen() { return "after round \(round): \(problem)" }
      }
      return nil
    }
    #expect(problem == nil, "seed \(seed), \(geometry)")
  }

  /// An image in use, and what it must say.
  private struct Life {
    let world: World
    let geometry: Geometry
    let backing: SparseImage?
    var image: SnapshotImage
    var model: ModelDisk
    var frozen: [ImageStory.Frozen] = []
    var random: SeededGenerator
    var writes = 1
    var highest = 0

    init(_ geometry: Geometry, in world: World, isOverlay: Bool) async throws {
      self.world = world
      self.geometry = geometry
      random = world.makeRandom("life")
      let size = 512 * Int.random(in: 1...400, using: &random)
      var options = NewImageOptions(virtualSize: size)
      options.clusterSize = geometry.clusterSize
      options.refcountBits = geometry.refcountBits
      options.version = geometry.version
      backing =
        isOverlay ? SparseImage(WritePattern.bytes(ByteRange(0, size / 2), write: 9999)) : nil
      let file = try await SnapshotImage.create(options, in: world)
      image = try await SnapshotImage(file, in: world, forgets: false, backing: backing)
      model = ModelDisk(SparseImage(try await image.contents))
    }

    mutating func step() async throws -> String? {
      switch Int.random(in: 0..<12, using: &random) {
      case 0, 1, 2: return try await create()
      case 3: return try await apply()
      case 4, 5: return try await delete()
      case 6: return try await grow()
      default: return try await guestWork()
      }
    }

    /// Some requests, on the image and on the model.
    private mutating func guestWork() async throws -> String? {
      var disk = ModelledDisk(image.door)
      disk.model = model
      var shape = OperationSequence.Shape(
        length: image.door.length, cluster: min(geometry.clusterSize, image.door.length))
      shape.maximumClusters = 8
      let operations = OperationSequence(
        count: 12, shape: shape, random: SeededGenerator(seed: random.next()), firstWrite: writes)
      for operation in operations {
        if let difference = try await disk.perform(operation) {
          return "\(operation): \(difference)"
        }
      }
      writes += 100
      model = disk.model
      return nil
    }

    private mutating func create() async throws -> String? {
      let contents = try await image.contents
      if let difference = model.verify(contents, at: ByteRange(0, contents.count)) {
        return "\(difference)"
      }
      do {
        let made = try await image.graph.createSnapshot(named: "s\(writes)", of: image.node)
        highest = (frozen.compactMap { Int($0.id) }.max() ?? 0) + 1
        guard made.id == "\(highest)", made.length == contents.count,
          made.seconds == world.secondsSince1970
        else { return "a snapshot \(made)" }
        frozen.append(.init(id: made.id, name: made.name, contents: contents))
      } catch {
        // Three references are all that 2 bits can count.
        guard error.code == .invalidArgument, geometry.refcountBits == 2 else { throw error }
      }
      writes += 1
      return nil
    }

    private mutating func apply() async throws -> String? {
      guard let target = frozen.randomElement(using: &random) else { return nil }
      let reference: SnapshotReference =
        Bool.random(using: &random) ? .idOrName(target.id) : .idOrName(target.name)
      do {
        try await image.graph.applySnapshot(reference, to: image.node)
      } catch {
        guard error.code == .invalidArgument, geometry.refcountBits == 2 else { throw error }
        return nil
      }
      model = ModelDisk(SparseImage(target.contents))
      return image.door.length == target.contents.count ? nil : "the length is wrong"
    }

    private mutating func delete() async throws -> String? {
      guard let index = frozen.indices.randomElement(using: &random) else { return nil }
      try await image.graph.deleteSnapshot(.name(frozen[index].name), of: image.node)
      frozen.remove(at: index)
      return nil
    }

    private mutating func grow() async throws -> String? {
      let old = try await image.contents
      let length = old.count + 512 * Int.random(in: 1...100, using: &random)
      do {
        try await image.door.resize(to: length)
      } catch {
        guard error.code == .unsupported, geometry.version == .v2, !frozen.isEmpty else {
          throw error
        }
        return nil
      }
      var grown = SparseImage(old)
      grown.resize(to: length)
      model = ModelDisk(grown)
      return nil
    }

    /// Closes, compares all that the file says, and opens again.
    mutating func reopen() async throws -> String? {
      let contents = try await image.contents
      if let difference = model.verify(contents, at: ByteRange(0, contents.count)) {
        return "\(difference)"
      }
      try await image.close()
      let file = image.disk.visibleImage
      let story: ImageStory
      do {
        story = try await ImageStory(of: file, in: world, backing: backing)
      } catch let problem as ImageStory.Problem {
        return problem.text
      }
      var expected = story
      expected.disk = contents
      expected.snapshots = frozen
      if let difference = story.difference(from: expected) { return difference }
      if story.leaks > 0 { return "\(story.leaks) leaks" }
      image = try await SnapshotImage(file, in: world, forgets: false, backing: backing)
      return nil
    }
  }
}
