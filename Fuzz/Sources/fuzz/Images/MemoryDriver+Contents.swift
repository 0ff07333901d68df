import BlockLayer
import Primitives

extension MemoryDriver {
  /// A file with these bytes.
  static func holding(_ contents: [UInt8]) async -> MemoryDriver {
    let disk = MemoryDriver(length: 0, growsOnWrite: true)
    if !contents.isEmpty {
      try? await disk.write(ByteRange(0, contents.count), from: contents.span.bytes)
    }
    return disk
  }

  /// All bytes.
  func contents() async throws(BlockError) -> [UInt8] {
    var buffer = IOBuffer(byteCount: length)
    var bytes = buffer.mutableBytes
    try await read(ByteRange(0, bytes.byteCount), into: &bytes)
    return bytes.bytes.toArray()
  }

  /// Whether these are all bytes.
  func holds(_ contents: [UInt8]) async -> Bool {
    var buffer = IOBuffer(byteCount: length)
    var bytes = buffer.mutableBytes
    guard (try? await read(ByteRange(0, bytes.byteCount), into: &bytes)) != nil else {
      return false
    }
    return bytes.bytes.elementsEqual(contents.span.bytes)
  }
}
