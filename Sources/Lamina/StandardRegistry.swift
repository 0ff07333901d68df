public import BlockLayer
public import Execution
internal import Qcow2

extension DriverRegistry {
  /// Host files, and the formats `qcow2` and `raw`.
  public static let standard: DriverRegistry = {
    var registry = DriverRegistry.base
    registry.addFormat(
      "qcow2", recognises: { Qcow2Driver.recognises($0) }, creator: Qcow2Driver.creator
    ) { (file, context) throws(BlockError) in
      try await Qcow2Driver.open(file, context)
    }
    return registry
  }()
}

extension BlockGraph {
  /// A graph in `world` with the standard drivers.
  ///
  /// Names inside images are followed only within the image's own folder, unless `policy` says
  /// otherwise.
  public convenience init(world: World, policy: OpenPolicy = .confined) {
    self.init(world: world, registry: .standard, policy: policy)
  }
}
