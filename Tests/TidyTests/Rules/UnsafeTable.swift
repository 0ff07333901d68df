/// Where memory may be handled without the compiler's checks, and why there.
enum UnsafeTable {
  static let allowed: [(folder: String, reason: String)] = [
    ("Primitives", "loads, stores and buffers that everyone else uses safely"),
    ("Execution", "threads, thread-local slots and continuations of the executor"),
    ("DirtyBitmap", "the words of the bitmap: bounds are checked once a range, not once a word"),
    ("BlockLayer/HostFile", "the kernel takes pointers"),
    ("BackupChain/LayerDigest.swift", "the hash functions take pointers"),
    ("Qcow2/Compressed", "zlib and zstd take pointers"),
  ]

  /// Beginnings of words.
  static let prefixes = [
    "withUnsafe", "UnsafePointer", "UnsafeMutablePointer", "UnsafeRawPointer",
    "UnsafeMutableRawPointer", "UnsafeBufferPointer", "UnsafeMutableBufferPointer",
    "UnsafeRawBufferPointer", "UnsafeMutableRawBufferPointer", "UnsafeContinuation", "unsafeLoad",
    "unsafeBitCast", "unsafeDowncast", "unsafeUninitializedCapacity", "unsafeAddress", "_unsafe",
    "Unmanaged", "OpaquePointer", "_overrideLifetime",
  ]

  static func isAllowed(_ file: SourceFile) -> Bool {
    allowed.contains { file.isBelow("Sources/" + $0.folder) }
  }

  static func bans(_ word: String) -> Bool { prefixes.contains { word.hasPrefix($0) } }
}
