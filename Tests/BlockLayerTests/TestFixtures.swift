import Execution
import Primitives
import Synchronization
import SystemPackage
import Testing

@testable import BlockLayer

#if canImport(Glibc)
import Glibc
#endif

/// A folder of its own for one test, removed with it.
final class TemporaryFolder {
  let path: FilePath

  init() {
    var template = Array("/tmp/lamina-test-XXXXXX".utf8CString)
    template.withUnsafeMutableBufferPointer { name in
      _ = name.baseAddress.map { mkdtemp($0) }
    }
    path = FilePath(platformString: template)
  }

  deinit { Self.remove(path) }

  /// The path of a file in the folder.
  func file(_ name: String) -> FilePath { path.appending(name) }

  /// Makes a file with these contents.
  @discardableResult
  func make(_ name: String, _ bytes: [UInt8]) throws -> FilePath {
    let path = file(name)
    let descriptor = try FileDescriptor.open(
      path, .writeOnly, options: [.create, .truncate], permissions: .ownerReadWrite)
    try descriptor.closeAfter { _ = try descriptor.writeAll(bytes) }
    return path
  }

  func folder(_ name: String) -> FilePath {
    mkdir(file(name).string, 0o755)
    return file(name)
  }

  func link(_ name: String, to target: String) { symlink(target, file(name).string) }

  func contents(_ name: String) throws -> [UInt8] {
    let descriptor = try FileDescriptor.open(file(name), .readOnly)
    return try descriptor.closeAfter {
      let count = Int(try descriptor.seek(offset: 0, from: .end))
      var bytes = [UInt8](repeating: 0, count: count)
      _ = try bytes.withUnsafeMutableBytes {
        try descriptor.read(fromAbsoluteOffset: 0, into: $0)
      }
      return bytes
    }
  }

  func byteCount(_ name: String) -> Int? {
    var status = stat()
    return stat(file(name).string, &status) == 0 ? Int(status.st_size) : nil
  }

  private static func remove(_ folder: FilePath) {
    guard let stream = opendir(folder.string) else { return }
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name == "." || name == ".." { continue }
      let path = folder.appending(name)
      if unlink(path.string) != 0 { remove(path) }
    }
    closedir(stream)
    rmdir(folder.string)
  }
}

/// Runs `body` in a World whose scheduling `seed` decides.
func simulated<T: Sendable>(
  seed: UInt64 = 1, _ body: sending @escaping (World) async throws -> T
) async throws -> T {
  let world = World.simulated(seed: seed)
  return try await world.run { try await body(world) }
}

/// `count` bytes that tell their offset apart; none is zero.
func pattern(_ count: Int, from start: Int = 0) -> [UInt8] {
  let first = start % patternPeriod
  guard count <= patternTable.count - first else {
    return pattern(patternPeriod, from: start) + pattern(count - patternPeriod, from: start)
  }
  return Array(patternTable[first..<first + count])
}

private let patternPeriod = 65_537 * 4
private let patternTable: [UInt8] = (0..<patternPeriod * 5).map {
  let offset = $0 % patternPeriod
  return UInt8(truncatingIfNeeded: offset &* 7 &+ offset >> 8) | 1
}

/// Whether all bytes are zero, at a debug build's best speed.
func isZero(_ bytes: some Collection<UInt8>) -> Bool { Array(bytes).span.bytes.isZero }

/// Whether both have the same bytes, at a debug build's best speed.
func same(_ left: some Collection<UInt8>, _ right: some Collection<UInt8>) -> Bool {
  Array(left).span.bytes.elementsEqual(Array(right).span.bytes)
}

extension BlockDriver {
  func bytes(_ offset: Int, _ count: Int) async throws(BlockError) -> [UInt8] {
    var buffer = IOBuffer(byteCount: count)
    var bytes = buffer.mutableBytes
    try await read(ByteRange(offset: offset, count: count), into: &bytes)
    return bytes.bytes.toArray()
  }

  func write(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
    try await write(ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
  }
}

extension BlockNode {
  func bytes(_ offset: Int, _ count: Int) async throws(BlockError) -> [UInt8] {
    var buffer = IOBuffer(byteCount: count)
    var bytes = buffer.mutableBytes
    try await read(ByteRange(offset: offset, count: count), into: &bytes)
    return bytes.bytes.toArray()
  }

  func write(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
    try await write(ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
  }
}

/// What happened, in order.
final class Notes: Sendable {
  private let lines = Mutex<[String]>([])

  var all: [String] { lines.withLock { $0 } }
  func note(_ line: String) { lines.withLock { $0.append(line) } }
  func clear() { lines.withLock { $0 = [] } }
}

/// The error that `body` throws; nil, and a recorded issue, if it throws none.
func failure(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> Void
) async -> BlockError? {
  do {
    try await body()
    Issue.record("nothing was thrown", sourceLocation: sourceLocation)
  } catch let error as BlockError {
    return error
  } catch {
    Issue.record("\(error)", sourceLocation: sourceLocation)
  }
  return nil
}
