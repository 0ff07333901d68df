import BlockLayer
import Execution
import Primitives
import Qcow2

extension FuzzTarget {
  /// A damaged image, looked at and checked.
  static let check = FuzzTarget(
    name: "check", summary: "a damaged image, looked at and checked", seeds: seedsOfImages
  ) { input in
    DamagedImage.run(input) { damaged in
      let disk = await damaged.makeDisk()
      let graph = Opened.makeGraph(in: damaged.world)
      if let file = try? graph.addNode(disk, name: "file") {
        let information = try? await Qcow2Driver.information(of: file)
        require(information.map { $0.virtualSize >= 0 } ?? true, "a size of no disk")
      }
      _ = await Opened.check(disk, in: damaged.world)
      require(await disk.holds(damaged.contents), "looking wrote something")
    }
  }
}
