import BlockLayer
import BlockTestKit
import Primitives
import Qcow2

/// What tests of compressed clusters ask of an image, and put into it.
extension ImageFixture {
  /// Where the entry of guest cluster `index` of the first L2 table is in the file; that exists.
  func entryOffset(_ index: Int) async throws -> Int {
    let l1 = Int(try await words(at: 40, count: 1)[0])
    let table = try await words(at: l1, count: 1)[0] & 0x00ff_ffff_ffff_fe00
    return Int(table) + index * 8
  }

  /// The entry of guest cluster `index`, as it is in the file.
  func entry(_ index: Int) async throws -> L2Entry {
    L2Entry(rawValue: try await words(at: entryOffset(index), count: 1)[0])
  }

  /// Where the stream of guest cluster `index` is; nil where it is not compressed.
  func descriptor(_ index: Int, clusterSize: Int) async throws -> CompressedDescriptor? {
    let kind = try await entry(index).kind(clusterBits: clusterSize.trailingZeroBitCount)
    guard case .compressed(let descriptor) = kind else { return nil }
    return descriptor
  }

  /// Makes guest cluster `index` compressed, with `stream` at the place that `entry` names; without
  /// a reference.
  func plant(_ stream: [UInt8], _ entry: UInt64, at index: Int, clusterSize: Int) async throws {
    let kind = L2Entry(rawValue: entry).kind(clusterBits: clusterSize.trailingZeroBitCount)
    guard case .compressed(let descriptor) = kind else { return }
    try await patch(stream, at: descriptor.hostOffset.value)
    try await patch(DamagedImage.bytes(entry), at: entryOffset(index))
  }

  /// The check of the image, as it is in the file.
  func check() async throws -> ImageCheck {
    let reader = try await open(readOnly: true)
    guard let driver = reader.node.driver as? Qcow2Driver else { throw BlockError(.io, "no qcow2") }
    let result = try await driver.check()
    try await close(reader)
    return result
  }
}

extension BlockBackend {
  /// Writes whole clusters compressed.
  func writeCompressed(_ bytes: [UInt8], at offset: Int) async throws(BlockError) {
    try await writeCompressed(
      ByteRange(offset: offset, count: bytes.count), from: bytes.span.bytes)
  }
}
