internal import BlockLayer
internal import Lamina

/// `lamina check`, spelled as `qemu-img check`.
///
/// Exit status 0: clean, 1: it could not be checked, 2: corruptions, 3: leaks only, 63: the format
/// has no check.
enum CheckCommand {
  static let options = OptionParser(
    "f:format= r:repair= :output= :object= :image-opts U:force-share q T=")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    var repair: ImageRepair?
    let parsed = try options.parse(words, of: tool) { name, value in
      if name == "repair" { repair = try Self.repair(value) }
    }
    guard let path = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let isJSON = try Output.isJSON(parsed.value("output"))
    _ = try CacheMode.ignoresFlush(parsed.value("T"), "source cache option")
    let session = try ImageSession(tool)
    let node = try await session.open(
      ImageName(path, parsed), format: parsed.value("format"), readOnly: repair == nil,
      forceShare: parsed.has("force-share"), backing: .ignore, isForCheck: true)
    guard let image = node.driver as? any CheckableImage else {
      tool.console.complain("\(tool.name): This image format does not support checks")
      return 63
    }
    let repaired: ImageRepairResult?
    let result: ImageCheck
    do {
      repaired = if let repair { try await image.repair(repair) } else { nil }
      result = if let repaired { repaired.remaining } else { try await image.check() }
    } catch {
      try? await session.graph.close(node)
      throw error.prefixed("Check failed")
    }
    try await session.graph.close(node)
    let isQuiet = parsed.has("q")
    if let repaired { report(tool, repaired, isQuiet: isQuiet || isJSON) }
    if repaired?.isIdle != true {
      for finding in result.findings { tool.console.complain(finding.message) }
    }
    if isJSON, !isQuiet {
      tool.console.print(json(result, repaired, path, node.driver.driverName).pretty())
    } else if !isQuiet {
      report(tool, result)
    }
    return status(result)
  }

  private static func status(_ result: ImageCheck) -> Int32 {
    if result.checkErrors > 0 { return 1 }
    return result.corruptions > 0 ? 2 : result.leaks > 0 ? 3 : 0
  }

  private static func repair(_ word: String) throws(ToolFailure) -> ImageRepair {
    switch word {
    case "leaks": .leaks
    case "all": .all
    default:
      throw .usage("Unknown option value for -r (expecting 'leaks' or 'all'): \(word)")
    }
  }

  private static func report(_ tool: Tool, _ repaired: ImageRepairResult, isQuiet: Bool) {
    let messages = repaired.findings.map(\.message)
    let firstRepair = messages.firstIndex { $0.hasPrefix(repairedCluster) } ?? messages.count
    for message in messages[..<firstRepair] { tool.console.complain(message) }
    for message in messages where message.hasPrefix(repairedCluster) {
      tool.console.complain(found(message))
    }
    for message in messages[firstRepair...] { tool.console.complain(message) }
    guard !isQuiet, !repaired.isIdle else { return }
    tool.console.print(
      "The following inconsistencies were found and repaired:\n\n"
        + "    \(repaired.leaksFixed) leaked clusters\n"
        + "    \(repaired.corruptionsFixed) corruptions\n\n"
        + "Double checking the fixed image now...")
  }

  private static let repairedCluster = "Repairing cluster "

  /// What was wrong with a cluster whose refcount was repaired: qemu-img tells of all of them
  /// before it repairs the first.
  private static func found(_ repair: String) -> String {
    let numbers = repair.split(whereSeparator: { !$0.isNumber }).compactMap { UInt64($0) }
    let isLeak = numbers.count == 3 && numbers[1] > numbers[2]
    return (isLeak ? "Leaked cluster " : "ERROR cluster ")
      + repair.dropFirst(repairedCluster.count)
  }

  private static func report(_ tool: Tool, _ result: ImageCheck) {
    if result.corruptions == 0, result.leaks == 0, result.checkErrors == 0 {
      tool.console.print("No errors were found on the image.")
    }
    if result.corruptions > 0 {
      tool.console.print(
        "\n\(result.corruptions) errors were found on the image.\n"
          + "Data may be corrupted, or further writes to the image may corrupt it.")
    }
    if result.leaks > 0 {
      tool.console.print(
        "\n\(result.leaks) leaked clusters were found on the image.\n"
          + "This means waste of disk space, but no harm to data.")
    }
    if result.checkErrors > 0 {
      tool.console.print("\n\(result.checkErrors) internal errors have occurred during the check.")
    }
    if result.totalClusters > 0, result.allocatedClusters > 0 {
      let allocated = percent(result.allocatedClusters, result.totalClusters)
      let fragmented = percent(result.fragmentedClusters, result.allocatedClusters)
      let compressed = percent(result.compressedClusters, result.allocatedClusters)
      tool.console.print(
        "\(result.allocatedClusters)/\(result.totalClusters) = \(allocated)% allocated, "
          + "\(fragmented)% fragmented, \(compressed)% compressed clusters")
    }
    if result.imageEndOffset > 0 {
      tool.console.print("Image end offset: \(result.imageEndOffset)")
    }
  }

  private static func percent(_ part: Int, _ whole: Int) -> String {
    let hundredths = Int((Double(part) * 10000 / Double(whole)).rounded(.toNearestOrEven))
    return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
  }

  private static func json(
    _ result: ImageCheck, _ repaired: ImageRepairResult?, _ path: String, _ format: String
  ) -> JSONText {
    var fields: [(String, JSONText)] = [("image-end-offset", .number(result.imageEndOffset))]
    func add(_ key: String, _ value: Int) {
      if value > 0 { fields.append((key, .number(value))) }
    }
    add("compressed-clusters", result.compressedClusters)
    add("total-clusters", result.totalClusters)
    add("corruptions", result.corruptions)
    add("corruptions-fixed", repaired?.corruptionsFixed ?? 0)
    fields.append(("check-errors", .number(result.checkErrors)))
    add("leaks", result.leaks)
    add("leaks-fixed", repaired?.leaksFixed ?? 0)
    add("allocated-clusters", result.allocatedClusters)
    fields.append(("filename", .string(path)))
    fields.append(("format", .string(format)))
    add("fragmented-clusters", result.fragmentedClusters)
    return .object(fields)
  }
}

extension ImageRepairResult {
  /// Whether nothing was repaired.
  fileprivate var isIdle: Bool { leaksFixed + corruptionsFixed == 0 }
}
