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
  ) { input in
    DamagedImage.run(input) { damaged in
      var reader = damaged.rest
      let mode: ImageRepair = reader.byte() & 1 == 0 ? .all : .leaks
      let disk = await damaged.makeDisk()
      guard let result = await repaired(disk, mode, damaged.world) else { return }
      let check = await Opened.check(disk, in: damaged.world)
      require(
        check?.corruptions == result.remaining.corruptions
          && check?.leaks == result.remaining.leaks,
        "a repair says \(result.remaining.findings.prefix(3)), a check "
          + "\(check?.findings.prefix(3) ?? [])")
      guard result.remaining.isSound,
        let before = await damaged.view(of: await damaged.makeDisk())
      else { return }
      guard let after = await damaged.view(of: disk) else {
        fatalError("a repaired image cannot be opened any more")
      }
      before.requireSame(after)
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
}
