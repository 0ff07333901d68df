/// Finding nodes by the names that commands use.
extension BlockGraph {
  /// The node at which the device `name` begins, or else the node of that name.
  ///
  /// Throws `notFound` with QEMU's text.
  public func deviceOrNode(named name: String) throws(BlockError) -> BlockNode {
    if let device = backends.first(where: { $0.name == name }) { return device.node }
    guard let node = nodes.first(where: { $0.name == name }) else {
      throw BlockError(.notFound, "Cannot find device='\(name)' nor node-name='\(name)'")
    }
    return node
  }

  /// The name of the device that begins at `node`, if there is one.
  public func deviceName(at node: BlockNode) -> String? {
    backends.first { $0.name != nil && $0.node === node }?.name
  }
}
