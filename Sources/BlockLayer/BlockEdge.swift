internal import Synchronization

/// A link of the graph: one user (a node, a backend, a job) above, one node below.
///
/// The user sends its requests through the edge, so that a filter can be put between the two.
/// The node below changes only while every backend above is drained.
public final class BlockEdge: Sendable {
  /// The part that the child plays for the user.
  public let role: ChildRole

  struct State {
    var child: BlockNode?
    var permissions: EdgePermissions
    /// The node above, when it is one; set when the node adopts its driver's edges.
    weak var parent: BlockNode?
    var user: String
  }
  private let state: Mutex<State>

  /// Attaches a user to `child`.
  ///
  /// `user` is how messages name it: `node 'a'`, `backup job 'b'`. Throws `permissionConflict` when
  /// `permissions` contradict those of the child's other users.
  public init(
    _ role: ChildRole, to child: BlockNode, permissions: EdgePermissions = .none,
    user: String = "an unnamed block device"
  ) throws(BlockError) {
    self.role = role
    state = Mutex(State(child: child, permissions: permissions, parent: nil, user: user))
    child.attach(self)
    do {
      try PermissionCheck.refresh(child)
    } catch {
      child.detach(self)
      throw error
    }
  }

  /// The node below.
  ///
  /// Traps on an edge that was detached.
  public var node: BlockNode {
    guard let node = attachedNode else { preconditionFailure("a detached edge was used") }
    return node
  }

  /// The node below; nil when the edge was detached.
  var attachedNode: BlockNode? { state.withLock { $0.child } }

  /// What the user takes and shares.
  public var permissions: EdgePermissions { state.withLock { $0.permissions } }

  /// How messages name the user.
  var user: String {
    state.withLock { state in state.parent.map { "node '\($0.name)'" } ?? state.user }
  }

  /// The node above, when the user is a node.
  public var parent: BlockNode? { state.withLock { $0.parent } }

  func adopt(by parent: BlockNode) { state.withLock { $0.parent = parent } }

  func setPermissions(_ permissions: EdgePermissions) {
    state.withLock { $0.permissions = permissions }
  }

  /// Changes what the user takes and shares; on a conflict it stays as it was.
  public func change(permissions: EdgePermissions) throws(BlockError) {
    let old = self.permissions
    setPermissions(permissions)
    do {
      try PermissionCheck.refresh(node)
    } catch {
      setPermissions(old)
      throw error
    }
  }

  /// Points the edge at another node, without a look at permissions: the graph does that.
  func point(to child: BlockNode) {
    let old = state.withLock { state in
      defer { state.child = child }
      return state.child
    }
    old?.detach(self)
    child.attach(self)
  }

  /// Lets go of the node below.
  ///
  /// The edge is of no use afterwards.
  public func detach() {
    let old = state.withLock { state in
      defer { state.child = nil }
      return state.child
    }
    guard let old else { return }
    old.detach(self)
    // Fewer users can only take less: no conflict can come of it.
    try? PermissionCheck.refresh(old)
  }
}

/// The rule of permissions: what one user takes, every other user of the node must share.
enum PermissionCheck {
  /// Passes the users' permissions of `node` down its edges and checks every node on the way.
  ///
  /// On a conflict everything is as before.
  static func refresh(_ node: BlockNode) throws(BlockError) {
    var undo: [(BlockEdge, EdgePermissions)] = []
    do {
      try refresh(node, &undo)
    } catch {
      for (edge, old) in undo.reversed() { edge.setPermissions(old) }
      throw error
    }
  }

  private static func refresh(
    _ node: BlockNode, _ undo: inout [(BlockEdge, EdgePermissions)]
  ) throws(BlockError) {
    let users = node.parentEdges
    try check(users, of: node)
    var parents = EdgePermissions.none
    for edge in users {
      let permissions = edge.permissions
      parents.taken.formUnion(permissions.taken)
      parents.shared.formIntersection(permissions.shared)
    }
    for edge in node.driver.children {
      let wanted = node.driver.permissions(
        for: edge.role, parents: parents, readOnly: node.isReadOnly)
      let old = edge.permissions
      guard wanted != old else { continue }
      undo.append((edge, old))
      edge.setPermissions(wanted)
      try refresh(edge.node, &undo)
    }
  }

  private static func check(_ users: [BlockEdge], of node: BlockNode) throws(BlockError) {
    let all = users.map { (edge: $0, permissions: $0.permissions) }
    for (index, one) in all.enumerated() {
      if node.isReadOnly, one.permissions.taken.contains(.write) {
        throw BlockError(.readOnly, "Block node is read-only", node: node.name)
      }
      for (other, another) in all.enumerated() where other != index {
        let conflict = one.permissions.taken.subtracting(another.permissions.shared)
        guard conflict.isEmpty else {
          throw BlockError(
            .permissionConflict,
            "Permission conflict on node '\(node.name)': permissions "
              + "'\(conflict.names.joined(separator: ", "))' are both required by "
              + "\(one.edge.user) (uses node '\(node.name)' as '\(one.edge.role)' child) and "
              + "unshared by \(another.edge.user) (uses node '\(node.name)' as "
              + "'\(another.edge.role)' child).", node: node.name)
        }
      }
    }
  }
}
