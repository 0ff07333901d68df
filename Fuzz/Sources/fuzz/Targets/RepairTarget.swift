import BlockLayer
import Execution
import Primitives
import Qcow2

extension FuzzTarget {
  /// A damaged image, repaired.
  ///
  /// What a repair says is left is what a check then finds; and where nothing is left, every sector
  /// that could be read before is what it was.
  static let repair = FuzzTarget(
    name: "repair", summary: "a damaged image, repaired", seeds: seedsOfImages
  ) { bytes in
    var reader = InputReader(bytes)
    let image = SmallImage.all[Int(reader.byte()) % SmallImage.all.count]
    let damaged = Damage.apply(&reader, to: image)
    let mode: ImageRepair = reader.byte() & 1 == 0 ? .all : .leaks
    let world = World.simulated(seed: 1, stepLimit: 300_000)
    world.runBlocking {
      let before = await view(damaged, image, world)
      let disk = MemoryDriver(length: 0, growsOnWrite: true)
      if !damaged.isEmpty {
        try? await disk.write(ByteRange(0, damaged.count), from: damaged.span.bytes)
      }
      guard let result = await repaired(disk, mode, world) else { return }
      let check = await Opened.check(disk, in: world)
      require(
        check?.corruptions == result.remaining.corruptions
          && check?.leaks == result.remaining.leaks,
        "a repair says \(result.remaining.findings.prefix(3)), a check "
          + "\(check?.findings.prefix(3) ?? [])")
      guard result.remaining.isSound, let before else { return }
      guard let contents = try? await disk.contents(),
        let after = await view(contents, image, world)
      else { fatalError("a repaired image cannot be opened any more") }
      if let sector = before.firstDifference(from: after) {
        fatalError(
          "sector \(sector) was \(before.sectors[sector]?.prefix(8) ?? []), and is "
            + "\(after.sectors[sector]?.prefix(8) ?? [])")
      }
    }
  }

  private static func repaired(
    _ disk: MemoryDriver, _ mode: ImageRepair, _ world: World
  ) async -> ImageRepairResult? {
    let graph = Opened.makeGraph(in: world)
    var options = OpenOptions(format: "qcow2", backing: .ignore)
    options.isForCheck = true
    guard let file = try? graph.addNode(disk, name: "file"),
      let node = try? await graph.open(file: file, options),
      let driver = node.driver as? Qcow2Driver
    else { return nil }
    let result = try? await driver.repair(mode)
    try? await graph.close(node)
    return result
  }

  private static func view(
    _ bytes: [UInt8], _ image: SmallImage, _ world: World
  ) async -> GuestView? {
    let dataFile = image.hasDataFile ? MemoryDriver(length: 0, growsOnWrite: true) : nil
    guard
      let opened = try? await Opened.open(
        bytes, of: image, in: world, readOnly: true, dataFile: dataFile)
    else { return nil }
    let view = await GuestView(of: opened.door)
    try? await opened.close()
    return view
  }
}
