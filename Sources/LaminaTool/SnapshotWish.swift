internal import BlockLayer

/// The snapshot that a call names.
struct SnapshotWish {
  private var id: String?
  private var name: String?
  private var either: String?

  /// Reads `snapshot.id=…,snapshot.name=…`, or an id or a name.
  init(_ text: String, _ tool: Tool) throws(ToolFailure) {
    guard text.hasPrefix("snapshot.") else {
      either = text
      return
    }
    for item in OptionText.items(text) {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 1 {
        tool.console.complain(
          "\(tool.name): warning: short-form boolean option '\(item)' deprecated\n"
            + "Please use \(item)=on instead")
      }
      let value = parts.count > 1 ? String(parts[1]) : "on"
      switch parts[0] {
      case "snapshot.id": id = value
      case "snapshot.name": name = value
      default:
        throw ToolFailure(
          message: "Invalid parameter '\(parts[0])'\n"
            + "\(tool.name): Failed in parsing snapshot param '\(text)'")
      }
    }
  }

  /// The snapshot of the image, without which there is nothing to copy.
  func find(in image: BlockNode) async throws -> SnapshotReference {
    guard let store = image.driver as? any SnapshotStore else {
      throw ToolFailure(
        message: "Failed to load snapshot: Block format '\(image.driver.driverName)' used by "
          + "device '' does not support temporarily loading internal snapshots")
    }
    let snapshots = try await store.snapshots()
    let found = snapshots.first { snapshot in
      if let id, id != snapshot.id { return false }
      if let name, name != snapshot.name { return false }
      return true
    }
    let reference: SnapshotReference
    if let either {
      reference = .idOrName(either)
    } else if let found {
      reference = .id(found.id)
    } else {
      throw ToolFailure(message: "Failed to load snapshot: Can't find snapshot")
    }
    let names = snapshots.map { (id: Array($0.id.utf8), name: Array($0.name.utf8)) }
    guard reference.index(in: names) != nil else {
      throw ToolFailure(message: "Failed to load snapshot: Can't find snapshot")
    }
    return reference
  }
}
