import BlockLayer
import Execution
import Primitives
import Qcow2

extension FuzzTarget {
  /// A damaged image, looked at and checked.
  static let check = FuzzTarget(
    name: "check", summary: "a damaged image, looked at and checked", seeds: seedsOfImages
  ) { bytes in
    var reader = InputReader(bytes)
    let image = SmallImage.all[Int(reader.byte()) % SmallImage.all.count]
    let damaged = Damage.apply(&reader, to: image)
    let world = World.simulated(seed: 1, stepLimit: 300_000)
    world.runBlocking {
      let disk = MemoryDriver(length: 0, growsOnWrite: true)
      if !damaged.isEmpty {
        try? await disk.write(ByteRange(0, damaged.count), from: damaged.span.bytes)
      }
      let graph = Opened.makeGraph(in: world)
      if let file = try? graph.addNode(disk, name: "file") {
        let information = try? await Qcow2Driver.information(of: file)
        require(information.map { $0.virtualSize >= 0 } ?? true, "a size of no disk")
      }
      _ = await Opened.check(disk, in: world)
      let isSame = (try? await disk.contents()) == damaged
      require(isSame, "looking wrote something")
    }
  }
}
