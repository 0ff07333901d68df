/// Who may import whom.
///
/// A module may import what stands in its row, what those may import, and the system's own
/// modules. The innermost folder around a file that has a row is the file's.
enum ImportTable {
  static let rows: [String: Set<String>] = [
    "CLinux": [],
    "CZlib": [],
    "CZstd": [],
    "CLibdeflate": [],
    "Primitives": [],
    "DirtyBitmap": ["Primitives"],
    "Execution": ["Primitives"],
    "BlockLayer": ["Execution", "DirtyBitmap", "SystemPackage", "CLinux"],
    "Qcow2": ["BlockLayer"],
    "Qcow2/Compressed": ["BlockLayer", "CZlib", "CZstd", "CLibdeflate"],
    // Bytes to values: a fuzzer or a forensic tool parses an image from a span.
    "Qcow2/Format": ["Primitives"],
    "BackupJob": ["BlockLayer"],
    "ImageOps": ["BlockLayer"],
    "BackupChain": ["Qcow2", "BackupJob", "ImageOps", "Crypto", "FoundationEssentials"],
    "Lamina": ["Qcow2", "BackupJob", "ImageOps", "BackupChain"],
    "BlockTestKit": ["BlockLayer"],
    "LaminaTestKit": ["BlockTestKit", "Lamina"],
    "LaminaTool": ["Lamina", "BlockTestKit", "ArgumentParser", "FoundationEssentials"],
  ]

  /// The system's modules, allowed to all; Foundation is not one of them.
  static let system: Set<String> = ["Glibc", "Musl", "Darwin", "Synchronization"]

  /// The folders below `Sources` whose code must stay synchronous.
  static let synchronous = ["Qcow2/Format", "Primitives", "DirtyBitmap"]

  /// The row of a file below `Sources`: its module, or a folder of it that has a row.
  static func row(of file: SourceFile) -> String? {
    let folders = file.components.dropFirst().dropLast()
    return folders.indices.reversed().lazy
      .map { folders[folders.startIndex...$0].joined(separator: "/") }
      .first { rows[$0] != nil }
  }

  /// What the row's files may import, transitively.
  static func allowed(in row: String) -> Set<String> {
    var allowed = system
    var pending = [row]
    while let next = pending.popLast() {
      for name in rows[next] ?? [] where allowed.insert(name).inserted { pending.append(name) }
    }
    return allowed
  }
}
