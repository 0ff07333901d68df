import BlockLayer
import Primitives
import Synchronization

@testable import Qcow2

/// A file that tells an `OwnerMap` what becomes of it, and an observer of the engine's allocations
/// that asks the map whether each is right.
final class WatchedFile: ResizableImage {
  let below: any ResizableImage
  private let map: Mutex<OwnerMap>

  /// Watches `below`, whose bytes are `contents`.
  init(_ below: any ResizableImage, contents: [UInt8]) {
    self.below = below
    map = Mutex(OwnerMap(contents))
  }

  var driverName: String { "watched" }
  var length: Int { below.length }
  var limits: BlockLimits { below.limits }

  // MARK: - Requests

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    try await below.read(range, into: &buffer)
  }

  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    let gone = map.withLock { $0.write(bytes, at: range.lower) }
    try await below.write(range, from: bytes)
    map.withLock { $0.complete(gone) }
  }

  func discard(_ range: ByteRange) async throws(BlockError) {
    map.withLock { $0.discard(range) }
    try await below.discard(range)
  }

  func sync() async throws(BlockError) {
    let settled = map.withLock { $0.beginFlush() }
    try await below.sync()
    map.withLock { $0.endFlush(settled) }
  }

  func resize(to length: Int) async throws(BlockError) {
    map.withLock { $0.resize(to: length) }
    try await below.resize(to: length)
  }

  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    try await below.status(range)
  }

  func close() async throws(BlockError) { try await below.close() }

  // MARK: - Allocations

  /// The file's length.
  var contentLength: Int { map.withLock { $0.bytes.count } }

  /// The file as the map knows it.
  var contents: [UInt8] { map.withLock { $0.bytes } }

  /// What should not have happened.
  var violations: [String] { map.withLock { $0.violations } }

  func account(isClosed: Bool = false) -> OwnerMap.Account {
    map.withLock { $0.account(isClosed: isClosed) }
  }

  /// Checks each allocation of `driver` from now on.
  func observe(_ driver: Qcow2Driver) {
    driver.tables.withLock { tables in
      tables.observer = { [self] event, tables in
        switch event {
        case .taking(let clusters):
          let user = Self.user(of: clusters, in: tables)
          map.withLock { map in
            if let user { map.complain("clusters \(clusters) are taken, and \(user) has them") }
            map.take(clusters)
          }
        case .freed(let cluster): map.withLock { $0.free(cluster) }
        }
      }
    }
  }

  /// What of the metadata in memory, ahead of the file, refers to one of `clusters`; nil if nothing
  /// does.
  private static func user(of clusters: Range<Int>, in tables: Tables) -> String? {
    let bits = tables.geometry.clusterBits
    for slice in tables.l2.dirty {
      for word in slice.words where word != 0 {
        if OwnerMap.clusters(of: word, clusterBits: bits)?.overlaps(clusters) == true {
          return "a dirty L2 table"
        }
      }
    }
    for word in tables.l1 where word != 0 {
      if clusters.contains(Int(word & OwnerMap.offsetMask) >> bits) { return "the L1 table" }
    }
    for word in tables.refcountTable where word != 0 {
      if clusters.contains(Int(word & OwnerMap.offsetMask) >> bits) { return "the refcount table" }
    }
    for references in [tables.removed, tables.retired, tables.hindered] {
      for old in references where clusters.overlaps(old.cluster..<old.cluster + old.count) {
        return "a reference that is not yet given up"
      }
    }
    return nil
  }
}
