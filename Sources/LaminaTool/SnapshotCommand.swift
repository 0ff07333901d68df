internal import BlockLayer
internal import Lamina
internal import SystemPackage

/// `lamina snapshot`, spelled as `qemu-img snapshot`.
enum SnapshotCommand {
  static let options = OptionParser(
    "l a= c= d= q :object= :image-opts U:force-share")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    var action: (verb: String, name: String)?
    let parsed = try options.parse(words, of: tool) { name, value in
      guard ["l", "a", "c", "d"].contains(name) else { return }
      guard action == nil else { throw ToolFailure.usage("Cannot mix '-l', '-a', '-c', '-d'") }
      action = (name, value)
    }
    guard parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let file = ImageName(parsed.operands[0], parsed)
    let session = try ImageSession(tool)
    let isList = action?.verb == "l"
    // What is only listed needs no backing file.
    let node = try await session.open(
      file, format: nil, readOnly: isList, forceShare: parsed.has("force-share"),
      backing: isList ? .ignore : .fromImage)
    do {
      switch action?.verb {
      case "l": try await list(tool, node)
      case "c": try await create(action?.name ?? "", session.graph, node)
      case "a": try await apply(action?.name ?? "", session.graph, node)
      case "d": try await delete(action?.name ?? "", session.graph, node)
      default: break
      }
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    return 0
  }

  /// A format without snapshots has none: nothing is printed.
  private static func list(_ tool: Tool, _ node: BlockNode) async throws(BlockError) {
    guard let image = node.driver as? Qcow2Driver else { return }
    // Reading the table throws what is wrong with it.
    _ = try await image.snapshots()
    let snapshots = try await image.information().snapshots
    for line in SnapshotList(snapshots: snapshots).lines { tool.console.print(line) }
  }

  private static func create(
    _ name: String, _ graph: BlockGraph, _ node: BlockNode
  ) async throws(ToolFailure) {
    do {
      try await graph.createSnapshot(named: cut(name), of: node)
    } catch {
      let errno = error.errno
      throw failure("create", name, "-\(errno.rawValue) (\(errno))")
    }
  }

  /// QEMU keeps 255 bytes of a name; we, no part of a character.
  private static func cut(_ name: String) -> String {
    var count = min(name.utf8.count, 255)
    while true {
      if let text = String(name.utf8.prefix(count)) { return text }
      count -= 1
    }
  }

  private static func apply(
    _ name: String, _ graph: BlockGraph, _ node: BlockNode
  ) async throws(ToolFailure) {
    guard node.driver is any SnapshotStore else {
      throw failure("apply", name, "Block driver does not support snapshots")
    }
    do {
      try await graph.applySnapshot(.idOrName(name), to: node)
    } catch {
      let isMissing = error.code == .notFound
      throw failure(
        "apply", name, isMissing ? "Failed to load snapshot: \(error.errno)" : error.message)
    }
  }

  private static func delete(
    _ name: String, _ graph: BlockGraph, _ node: BlockNode
  ) async throws(ToolFailure) {
    guard node.driver is any SnapshotStore else {
      throw failure("delete", name, "snapshot not found")
    }
    do {
      try await graph.deleteSnapshot(.name(name), of: node)
    } catch {
      throw failure("delete", name, error.code == .notFound ? "snapshot not found" : error.message)
    }
  }

  private static func failure(_ verb: String, _ name: String, _ reason: String) -> ToolFailure {
    ToolFailure(
      message: "Could not \(verb) snapshot '\(OpenPolicy.printable(name))': \(reason)")
  }
}
