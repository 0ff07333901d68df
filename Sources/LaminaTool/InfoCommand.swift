internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// `lamina info`, spelled as `qemu-img info`.
///
/// It follows no name inside an image, but for `--backing-chain`.
enum InfoCommand {
  static let options = OptionParser(
    "f:format= :output= :backing-chain :object= :image-opts U:force-share", ours: ":policy=")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    guard let first = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let isJSON = try Output.isJSON(parsed.value("output"))
    let session = try ImageSession(tool, policy: parsed.value("policy"))
    var facts: [ImageFacts] = []
    var seen: [FileIdentity] = []
    var next: OpenPolicy.Grant? = OpenPolicy.Grant(
      path: FilePath(first), format: parsed.value("format"))
    while let image = next {
      let identity = FileIdentity(of: image.path)
      guard facts.count <= session.graph.policy.maxDepth,
        !(identity.map { seen.contains($0) } ?? false)
      else {
        throw ToolFailure(
          message: "Backing file '\(OpenPolicy.printable(image.path.string))' creates an infinite "
            + "loop.")
      }
      if let identity { seen.append(identity) }
      let found = try await look(at: image, session, forceShare: parsed.has("force-share"))
      facts.append(found)
      next = parsed.has("backing-chain") ? try found.backing(session.graph.policy) : nil
    }
    if isJSON {
      let all = facts.map(\.json)
      tool.console.print(
        parsed.has("backing-chain") ? JSONText.array(all).pretty() : all[0].pretty())
    } else {
      for (index, fact) in facts.enumerated() {
        if index > 0 { tool.console.print() }
        for line in fact.lines { tool.console.print(line) }
      }
    }
    return 0
  }

  private static func look(
    at image: OpenPolicy.Grant, _ session: ImageSession, forceShare: Bool
  ) async throws -> ImageFacts {
    let path = image.path
    let shown = OpenPolicy.printable(path.string)
    let file = try await session.open(
      path.string, format: "file", forceShare: forceShare, backing: .ignore,
      confinement: image.confinement)
    do {
      var name = image.format
      if name == nil { name = try await session.graph.probe(file) }
      var facts = ImageFacts(path: path, format: name ?? "raw", virtualSize: file.length)
      facts.actualSize = try (file.driver as? any HostBacked)?.allocatedBytes() ?? 0
      if facts.format == "qcow2" {
        facts.qcow2 = try await Qcow2Driver.information(of: file)
      } else if facts.format != "raw" {
        throw ToolFailure(
          message: "Could not open '\(shown)': Unknown driver "
            + "'\(OpenPolicy.printable(facts.format))'")
      }
      try await session.graph.close(file)
      return facts
    } catch let error as BlockError {
      try? await session.graph.close(file)
      throw error.prefixed("Could not open '\(shown)'")
    } catch {
      try? await session.graph.close(file)
      throw error
    }
  }
}

/// What `info` tells of one image.
struct ImageFacts {
  let path: FilePath
  let format: String
  let virtualSize: Int
  var actualSize = 0
  var qcow2: ImageInformation?

  init(path: FilePath, format: String, virtualSize: Int) {
    self.path = path
    self.format = format
    self.virtualSize = virtualSize
  }

  private var size: Int { qcow2?.virtualSize ?? virtualSize }

  /// The image that this one stands on; nil without one.
  ///
  /// The policy's gate is asked.
  func backing(_ policy: OpenPolicy) throws(BlockError) -> OpenPolicy.Grant? {
    guard let recorded = qcow2?.recordedBacking else { return nil }
    return try policy.grant(
      OpenPolicy.Reference(
        role: .backing, name: recorded.name, format: recorded.format,
        folder: path.removingLastComponent()))
  }

  /// The backing file's name as it is opened.
  private func fullName(_ recorded: RecordedBacking) -> String {
    let name = FilePath(recorded.name)
    return name.isAbsolute
      ? recorded.name : path.removingLastComponent().pushing(name).string
  }

  // MARK: - Human

  var lines: [String] {
    var lines = [
      "image: \(OpenPolicy.printable(path.string))", "file format: \(format)",
      "virtual size: \(ByteSize.describe(size)) (\(size) bytes)",
      "disk size: \(ByteSize.describe(actualSize))",
    ]
    guard let qcow2 else { return lines }
    if qcow2.encryptionMethod != .none { lines.append("encrypted: yes") }
    lines.append("cluster_size: \(qcow2.clusterSize)")
    if qcow2.isDirty { lines.append("cleanly shut down: no") }
    if let recorded = qcow2.recordedBacking {
      let full = fullName(recorded)
      let name = OpenPolicy.printable(recorded.name)
      lines.append(
        "backing file: \(name)"
          + (full == recorded.name ? "" : " (actual path: \(OpenPolicy.printable(full)))"))
      if let format = recorded.format {
        lines.append("backing file format: \(OpenPolicy.printable(format))")
      }
    }
    lines += SnapshotList(snapshots: qcow2.snapshots).lines
    lines.append("Format specific information:")
    lines += Self.specific(qcow2).map { "    " + $0 }
    return lines + qcow2.defects.map { "warning: \($0)" }
  }

  /// What a format tells of itself, in lines.
  static func specific(_ qcow2: ImageInformation) -> [String] {
    var lines = [
      "compat: \(qcow2.compatibility)",
      "compression type: \(qcow2.compressionType == .deflate ? "zlib" : "zstd")",
    ]
    if qcow2.version == .v3 { lines.append("lazy refcounts: \(qcow2.hasLazyRefcounts)") }
    if !qcow2.bitmaps.isEmpty { lines.append("bitmaps:") }
    for (index, bitmap) in qcow2.bitmaps.enumerated() {
      lines.append("    [\(index)]:")
      lines.append("        flags:")
      for (number, flag) in bitmap.flags.names.enumerated() {
        lines.append("            [\(number)]: \(flag)")
      }
      lines.append("        name: \(bitmap.name)")
      lines.append("        granularity: \(bitmap.granularity)")
    }
    lines.append("refcount bits: \(qcow2.refcountBits)")
    if let file = qcow2.dataFile {
      if let name = file.name { lines.append("data file: \(name)") }
      lines.append("data file raw: \(file.isRaw)")
    }
    if qcow2.version == .v3 {
      lines += ["corrupt: \(qcow2.isCorrupt)", "extended l2: \(qcow2.hasExtendedL2)"]
    }
    return lines
  }

  // MARK: - JSON

  var json: JSONText {
    var fields: [(String, JSONText)] = []
    if let format = qcow2?.recordedBacking?.format {
      fields.append(("backing-filename-format", .string(format)))
    }
    if let qcow2, !qcow2.snapshots.isEmpty {
      fields.append(("snapshots", SnapshotList(snapshots: qcow2.snapshots).json))
    }
    fields.append(("virtual-size", .number(size)))
    fields.append(("filename", .string(path.string)))
    if let qcow2 { fields.append(("cluster-size", .number(qcow2.clusterSize))) }
    fields.append(("format", .string(format)))
    fields.append(("actual-size", .number(actualSize)))
    if let qcow2, qcow2.encryptionMethod != .none { fields.append(("encrypted", .bool(true))) }
    if let qcow2 { fields.append(("format-specific", specificJSON(qcow2))) }
    if let recorded = qcow2?.recordedBacking {
      fields.append(("full-backing-filename", .string(fullName(recorded))))
      fields.append(("backing-filename", .string(recorded.name)))
    }
    fields.append(("dirty-flag", .bool(qcow2?.isDirty ?? false)))
    return .object(fields)
  }

  private func specificJSON(_ qcow2: ImageInformation) -> JSONText {
    var data: [(String, JSONText)] = [
      ("compat", .string(qcow2.compatibility)),
      ("compression-type", .string(qcow2.compressionType == .deflate ? "zlib" : "zstd")),
    ]
    if qcow2.version == .v3 { data.append(("lazy-refcounts", .bool(qcow2.hasLazyRefcounts))) }
    if !qcow2.bitmaps.isEmpty {
      let bitmaps = qcow2.bitmaps.map { bitmap in
        JSONText.object([
          ("flags", .array(bitmap.flags.names.map { .string($0) })),
          ("name", .string("\(bitmap.name)")), ("granularity", .number(bitmap.granularity)),
        ])
      }
      data.append(("bitmaps", .array(bitmaps)))
    }
    data.append(("refcount-bits", .number(qcow2.refcountBits)))
    if let file = qcow2.dataFile {
      if let name = file.name { data.append(("data-file", .string("\(name)"))) }
      data.append(("data-file-raw", .bool(file.isRaw)))
    }
    if qcow2.version == .v3 {
      data.append(("corrupt", .bool(qcow2.isCorrupt)))
      data.append(("extended-l2", .bool(qcow2.hasExtendedL2)))
    }
    return .object([("type", .string("qcow2")), ("data", .object(data))])
  }
}

extension BitmapFlags {
  fileprivate var names: [String] {
    (contains(.inUse) ? ["in-use"] : []) + (contains(.auto) ? ["auto"] : [])
  }
}
