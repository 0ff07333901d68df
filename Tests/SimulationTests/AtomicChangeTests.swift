import BlockLayer
import BlockTestKit
import Execution
import Primitives
import Qcow2
import Synchronization
import Testing

/// Changes of an image as a whole, cut off anywhere: by a crash, by an error of the disk.
///
/// The image is the old one or the new one then, and nothing is wrong with it.
@Suite struct AtomicChangeTests {
  @Test(arguments: SimulationBudget.seeds)
  func aCrashLeavesTheOldImageOrTheNewOne(seed: UInt64) throws {
    let change = AtomicChange(seed: seed)
    let points = try change.crashPoints()
    #expect(points.count > 1, "\(change): a change without syncs")
    var sizes: Set<Int> = []
    for (number, point) in points.enumerated() {
      for (index, state) in point.states(SimulationBudget.crashPlan, seed: seed).enumerated() {
        let outcome = change.outcome(of: state.image, isThorough: index % 16 == 0)
        sizes.insert(outcome.size)
        #expect(outcome.problem == nil, "\(change), crash \(number), \(state)")
        if outcome.problem != nil { return }
      }
    }
    #expect(sizes == [change.oldSize, change.newSize], "\(change)")
  }

  @Test(arguments: SimulationBudget.seeds.prefix(SimulationBudget.isLong ? 50 : 8))
  func whicheverOperationFailsTheImageIsTheOldOneOrTheNewOne(seed: UInt64) throws {
    let change = AtomicChange(seed: seed)
    let kinds: [(Set<DiskOperation>, Int)] = [(.everything, 1), (.everything, .max), ([.sync], 1)]
    for (operations, times) in kinds {
      var nth = 1
      while true {
        let disk = try change.failing(.failing(operations, nth: nth, times: times))
        guard disk.faultCount > 0 else { break }
        let outcome = change.outcome(of: disk.visibleImage, isThorough: true)
        #expect(outcome.problem == nil, "\(change), \(operations) \(nth), \(times) times")
        if outcome.problem != nil { return }
        nth += SimulationBudget.isLong ? 1 : 3
      }
      #expect(nth > 1, "\(change): nothing failed")
    }
  }
}

/// An image, and a change of its size, of the width of its refcounts or of its version.
private struct AtomicChange: CustomStringConvertible {
  enum Kind: String, CaseIterable { case shrink, grow, preallocate, width, downgrade }

  let seed: UInt64
  let kind: Kind
  let oldSize: Int
  let newSize: Int
  private var options: NewImageOptions
  private let backing: SparseImage?
  private let newBits: Int

  init(seed: UInt64) {
    self.seed = seed
    var random = SeededGenerator(seed: seed, label: "atomic change")
    kind = Kind.allCases[Int(seed) % Kind.allCases.count]
    let size = 512 * Int.random(in: 30...200, using: &random)
    oldSize = size
    let larger = size + 512 * Int.random(in: 1...200, using: &random)
    let smaller = 512 * Int.random(in: 0..<size / 512, using: &random)
    newSize = kind == .shrink ? smaller : [.grow, .preallocate].contains(kind) ? larger : size
    options = NewImageOptions(virtualSize: size)
    options.clusterSize = [512, 512, 1024, 4096].randomElement(using: &random) ?? 512
    let widths = [1, 4, 16, 64]
    options.refcountBits = kind == .downgrade ? 16 : widths.randomElement(using: &random) ?? 16
    let bits = options.refcountBits
    newBits = widths.filter { $0 != bits }.randomElement(using: &random) ?? 8
    guard Bool.random(using: &random) else {
      backing = nil
      return
    }
    let length = 512 * Int.random(in: 1...300, using: &random)
    var image = SparseImage(length: length)
    image.write(WritePattern.bytes(ByteRange(0, length), write: 0xb0000), at: 0)
    backing = image
    options.backingFileName = "base"
    options.backingFormat = "raw"
  }

  var description: String {
    "seed \(seed): \(kind) from \(oldSize) to \(newSize), clusters of \(options.clusterSize), "
      + "refcounts of \(options.refcountBits) bits (\(newBits)), "
      + (backing.map { "backing of \($0.length)" } ?? "no backing")
  }

  // MARK: - The change

  /// What a crash could leave at each moment of the change at which most is to be lost.
  func crashPoints() throws -> [CrashPoint] {
    let world = World.simulated(seed: seed)
    let disk = SimulatedDisk(in: world)
    let points = CrashPointList()
    try world.runBlocking {
      let image = try await prepared(on: disk)
      disk.observe { [weak disk] operation, phase in
        if operation == .sync, phase == .completing, let disk { points.add(disk.crashPoint()) }
      }
      try await apply(to: image)
      points.add(disk.crashPoint())
      try await image.close()
      points.add(disk.crashPoint())
    }
    return points.all
  }

  /// The disk after a change during which `faults` happened, and the image's closing.
  func failing(_ faults: FaultPlan) throws -> SimulatedDisk {
    let world = World.simulated(seed: seed)
    let disk = SimulatedDisk(in: world, schedulingPoints: false)
    try world.runBlocking {
      let image = try await prepared(on: disk)
      disk.faults = faults
      try? await apply(to: image)
      try? await image.close()
    }
    return disk
  }

  private func prepared(on disk: SimulatedDisk) async throws -> ImageFixture {
    try await ImageFixture.create(options, on: disk)
    let image = try await ImageFixture(disk, backing: backing)
    for (range, number) in writes {
      try await image.backend.write(
        range, from: WritePattern.bytes(range, write: number).span.bytes)
    }
    for range in zeroes { try await image.backend.writeZeroes(range, mayUnmap: true) }
    try await image.backend.flush()
    return image
  }

  private func apply(to image: ImageFixture) async throws {
    var changes = AmendOptions()
    switch kind {
    case .shrink: try await image.backend.resize(to: newSize, mayShrink: true)
    case .grow: try await image.backend.resize(to: newSize)
    case .preallocate: try await image.backend.resize(to: newSize, preallocation: .metadata)
    case .width:
      changes.refcountBits = newBits
      try await image.node.amend(changes)
    case .downgrade:
      changes.version = .v2
      try await image.node.amend(changes)
    }
  }

  private var writes: [(ByteRange, Int)] {
    var random = SeededGenerator(seed: seed, label: "writes")
    return (1...6).map { number in
      let lower = Int.random(in: 0..<oldSize, using: &random)
      let upper = min(oldSize, lower + Int.random(in: 1...oldSize / 3, using: &random))
      return (ByteRange(lower, upper), number)
    }
  }

  private var zeroes: [ByteRange] {
    var random = SeededGenerator(seed: seed, label: "zeroes")
    return (1...2).map { _ in
      let lower = Int.random(in: 0..<oldSize, using: &random)
      return ByteRange(lower, min(oldSize, lower + 3 * options.clusterSize))
    }
  }

  /// What the guest saw before the change.
  private var contents: [UInt8] {
    var image = backing ?? SparseImage()
    image.resize(to: min(image.length, oldSize))
    image.resize(to: oldSize)
    for (range, number) in writes {
      image.write(WritePattern.bytes(range, write: number), at: range.lower)
    }
    for range in zeroes { image.zero(range) }
    return image.bytes
  }

  // MARK: - What is left

  /// The size of a disk that was cut off in the change, and what is wrong with it.
  ///
  /// A thorough look also makes it longer and shorter again.
  func outcome(of image: SparseImage, isThorough: Bool) -> (size: Int, problem: String?) {
    let audit = ImageAudit(image)
    guard audit.corruptions.isEmpty else {
      return (audit.virtualSize, audit.corruptions.prefix(3).joined(separator: "; "))
    }
    let world = World.simulated(seed: seed, stepLimit: .max)
    let problem: String? = world.runBlocking {
      do {
        return try await look(at: image, in: world, isThorough: isThorough)
      } catch {
        return "\(error)"
      }
    }
    return (audit.virtualSize, problem)
  }

  private func look(
    at image: SparseImage, in world: World, isThorough: Bool
  ) async throws -> String? {
    let disk = SimulatedDisk(image, in: world, schedulingPoints: false)
    let reader = try await ImageFixture(disk, backing: backing, readOnly: true)
    let size = reader.backend.length
    guard [oldSize, newSize].contains(size) else { return "the size is \(size)" }
    if let difference = try await difference(reader, shown: size) { return difference }
    if let check = reader.node.driver as? any CheckableImage {
      let result = try await check.check()
      guard result.corruptions == 0, result.checkErrors == 0 else {
        return result.findings.map(\.message).joined(separator: "; ")
      }
    }
    try await reader.close()
    guard isThorough else { return nil }
    let writer = try await ImageFixture(disk, backing: backing)
    let larger = max(oldSize, newSize) + 100 * 512
    try await writer.backend.resize(to: larger)
    if let difference = try await difference(writer, shown: size) { return "grown: \(difference)" }
    try await writer.backend.resize(to: 512, mayShrink: true)
    if let difference = try await difference(writer, shown: 512) { return "cut: \(difference)" }
    try await writer.close()
    let after = ImageAudit(disk.durableImage)
    return after.corruptions.first
  }

  /// The first byte that is not what it was below `shown`, or not zero behind it.
  private func difference(_ image: ImageFixture, shown: Int) async throws -> String? {
    let length = image.backend.length
    var expected = Array(contents.prefix(min(shown, length)))
    expected += [UInt8](repeating: 0, count: length - expected.count)
    let found = try await image.backend.read(at: 0, count: length)
    return found.span.bytes.firstDifference(from: expected.span.bytes).map {
      "byte \($0) of \(length) is \(found[$0]), not \(expected[$0])"
    }
  }
}
