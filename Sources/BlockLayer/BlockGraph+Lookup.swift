/// Finding nodes by the names that commands use.
extension BlockGraph {
  /// The node at which the device `name` begins, or else the node of that name.
  ///
  /// Throws `notFound` with QEMU's text.
  public func deviceOrNode(named name: String) throws(BlockError) -> BlockNode {
    // One that is being closed, which its edge has left, is gone.
    if let device = backends.first(where: { $0.name == name })?.root.attachedNode { return device }
    guard let node = nodes.first(where: { $0.name == name }) else {
      throw BlockError(.notFound, "Cannot find device='\(name)' nor node-name='\(name)'")
    }
    return node
  }

  /// The name of the device that begins at `node`, if there is one.
  public func deviceName(at node: BlockNode) -> String? {
    backends.first { $0.name != nil && $0.root.attachedNode === node }?.name
  }
}
