/// What a user of a node may do with it.
///
/// Source: the QMP schema's `BlockPermission`.
public struct Permissions: OptionSet, Hashable, Sendable {
  /// One bit a permission.
  public let rawValue: UInt8

  /// Makes a set from its bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Read and see a consistent state.
  public static let consistentRead = Permissions(rawValue: 1)
  /// Change what is visible.
  public static let write = Permissions(rawValue: 2)
  /// Write without changing what is visible.
  public static let writeUnchanged = Permissions(rawValue: 4)
  /// Change the length.
  public static let resize = Permissions(rawValue: 8)
  /// Everything.
  public static let all: Permissions = [.consistentRead, .write, .writeUnchanged, .resize]

  /// The names as QEMU's messages print them.
  public var names: [String] {
    zip(["consistent read", "write", "write unchanged", "resize"], 0...)
      .filter { rawValue & (1 << $0.1) != 0 }.map(\.0)
  }
}

/// What one user takes of a node, and what it lets others take beside it.
public struct EdgePermissions: Hashable, Sendable {
  /// What the user does.
  public var taken: Permissions
  /// What it lets other users do.
  public var shared: Permissions

  /// Makes the pair.
  public init(taken: Permissions, shared: Permissions) {
    self.taken = taken
    self.shared = shared
  }

  /// What a node takes and shares below that only passes requests on: as its users do, but the
  /// length is to stay while there are any.
  static func passedThrough(_ users: EdgePermissions) -> EdgePermissions {
    guard users != .none else { return .none }
    return EdgePermissions(taken: users.taken, shared: users.shared.subtracting(.resize))
  }

  /// Takes nothing and shares everything.
  public static let none = EdgePermissions(taken: [], shared: .all)
  /// Reads; lets others do anything but resize.
  public static let reader = EdgePermissions(
    taken: .consistentRead, shared: .all.subtracting(.resize))
  /// Reads and writes; lets others do anything.
  public static let writer = EdgePermissions(taken: [.consistentRead, .write], shared: .all)
}

/// The part a child plays for the node above it.
public struct ChildRole: Hashable, Sendable, CustomStringConvertible {
  /// The role's name, as QEMU's messages print it.
  public let description: String

  /// A role of that name.
  public init(_ name: String) { description = name }

  /// The node that a format keeps its image in, or a filter's data.
  public static let file = ChildRole("file")
  /// What shows through where a format has nothing.
  public static let backing = ChildRole("backing")
  /// Where a format keeps guest data that is not in its image.
  public static let dataFile = ChildRole("data-file")
  /// Where a copy-before-write filter saves old data.
  public static let target = ChildRole("target")
  /// The node at which a backend, an export or a job begins.
  public static let root = ChildRole("root")
}
