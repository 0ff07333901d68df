internal import BlockLayer
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// What `info` tells of one image.
struct ImageFacts {
  /// The name as it is shown.
  private let name: String
  private let format: String
  private let folder: FilePath
  private let nodeLength: Int
  /// The space on the host; nil where a node does not say.
  private let actualSize: Int?
  /// Whether what keeps the bytes says how it does.
  private let isDescribed: Bool
  var qcow2: ImageInformation?

  /// The facts of an image whose format was left unopened.
  init(_ built: NodeBuilder.Built) {
    name = built.name.text
    format = built.format
    folder = built.folder ?? FilePath("")
    nodeLength = built.node.length
    actualSize = Self.allocatedBytes(built.node)
    var lowest = built.node
    while let below = lowest.primary { lowest = below }
    isDescribed = !(lowest.driver is NullDriver)
  }

  private static func allocatedBytes(_ node: BlockNode) -> Int? {
    if let file = node.driver as? any HostBacked { return try? file.allocatedBytes() }
    if node.driver is NullDriver { return 0 }
    if node.driver.isFilter { return nil }
    return node.primary.flatMap { allocatedBytes($0) }
  }

  private var size: Int { qcow2?.virtualSize ?? nodeLength }

  /// The image that this one stands on; nil without one.
  ///
  /// The policy's gate is asked.
  func backing(_ policy: OpenPolicy) throws(BlockError) -> OpenPolicy.Grant? {
    guard let recorded = qcow2?.recordedBacking else { return nil }
    return try policy.grant(
      OpenPolicy.Reference(
        role: .backing, name: recorded.name, format: recorded.format,
        folder: folder))
  }

  /// The backing file's name as it is opened.
  private func fullName(_ recorded: RecordedBacking) -> String {
    let name = FilePath(recorded.name)
    return name.isAbsolute
      ? recorded.name : folder.pushing(name).string
  }

  // MARK: - Human

  var lines: [String] {
    var lines = [
      "image: \(OpenPolicy.printable(self.name))", "file format: \(format)",
      "virtual size: \(ByteSize.describe(size)) (\(size) bytes)",
      "disk size: \(actualSize.map { ByteSize.describe($0) } ?? "unavailable")",
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
    fields.append(("filename", .string(name)))
    if let qcow2 { fields.append(("cluster-size", .number(qcow2.clusterSize))) }
    fields.append(("format", .string(format)))
    if let actualSize { fields.append(("actual-size", .number(actualSize))) }
    if let qcow2, qcow2.encryptionMethod != .none { fields.append(("encrypted", .bool(true))) }
    if let qcow2 { fields.append(("format-specific", specificJSON(qcow2))) }
    if let recorded = qcow2?.recordedBacking {
      fields.append(("full-backing-filename", .string(fullName(recorded))))
      fields.append(("backing-filename", .string(recorded.name)))
    }
    if isDescribed { fields.append(("dirty-flag", .bool(qcow2?.isDirty ?? false))) }
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
