internal import Execution
public import Primitives
internal import Synchronization
public import SystemPackage

/// A file or a block device of the host: QEMU's `file` and `host_device`.
///
/// The node's length is the file's, rounded up to 512 bytes; what is missing of the last sector
/// reads as zeros, and writing it makes the file longer. A regular file grows when it is written
/// beyond its end, and only then.
public final class FileDriver: HostBacked {
  /// The name under which the file was opened.
  public let path: FilePath
  /// The file's device and inode.
  public let identity: FileIdentity
  /// `file`, or `host_device` for a block device.
  public let driverName: String
  /// Requests of any shape; a regular file grows.
  public let limits: BlockLimits

  private let host: HostFile
  private let isWritable: Bool
  /// The file's true length, as far as we know it; others may append behind our back.
  private let byteCount: Atomic<Int>

  init(_ host: HostFile, isWritable: Bool) throws(Errno) {
    let facts = try host.facts()
    self.host = host
    self.isWritable = isWritable
    path = host.path
    identity = facts.identity
    let isDevice = facts.kind == .blockDevice
    driverName = isDevice ? "host_device" : "file"
    byteCount = Atomic(isDevice ? try host.deviceByteCount() : facts.byteCount)
    limits = BlockLimits(growsOnWrite: !isDevice)
  }

  /// The length, rounded up to whole sectors of 512 bytes.
  public var length: Int { byteCount.load(ordering: .relaxed).roundedUp(to: 512) }

  /// The length in bytes, as the host has it.
  public var exactLength: Int { byteCount.load(ordering: .relaxed) }

  /// What the file occupies on the host, in bytes.
  public func allocatedBytes() throws(BlockError) -> Int {
    do {
      return try host.facts().allocatedBytes
    } catch {
      throw failed(error, "find the size of")
    }
  }

  /// Reads what the file has; beyond its end are zeros.
  ///
  /// The corresponding C function is `pread`.
  public func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {
    if range.count >= Self.longTransfer { World.willBlock() }
    do {
      let count = try host.read(range, into: &buffer)
      if count < range.count { buffer.fill(ByteRange(count, range.count), with: 0) }
    } catch {
      throw failed(error, "read", range)
    }
  }

  /// Writes; a regular file grows if need be.
  ///
  /// The corresponding C function is `pwrite`.
  public func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {
    if range.count >= Self.longTransfer { World.willBlock() }
    do {
      try host.write(range, from: bytes)
    } catch {
      lookAtLength()
      throw failed(error, "write to", range)
    }
    didGrow(to: range.upper)
  }

  /// Zeroes by the file system's means, giving up the space if allowed; `unsupported` where it has
  /// none.
  ///
  /// The corresponding C function is `fallocate`.
  public func writeZeroes(_ range: ByteRange, mayUnmap: Bool) async throws(BlockError) {
    World.willBlock()
    do throws(Errno) {
      if mayUnmap, try punch(range) { return }
      try host.zero(range)
    } catch {
      lookAtLength()
      throw failed(error, "zero a part of", range)
    }
    didGrow(to: range.upper)
  }

  /// Makes a hole; beyond the end, the file grows first.
  ///
  /// Returns false where the host makes no holes.
  private func punch(_ range: ByteRange) throws(Errno) -> Bool {
    if range.upper > byteCount.load(ordering: .relaxed), limits.growsOnWrite {
      // Truncating could cut off what another request has just written further up; a byte cannot.
      let zero: [UInt8] = [0]
      try host.write(ByteRange(range.upper - 1, range.upper), from: zero.span.bytes)
      didGrow(to: range.upper)
    }
    do throws(Errno) {
      try host.punchHole(range)
      return true
    } catch {
      guard error == .notSupported else { throw error }
      return false
    }
  }

  /// Makes a hole in what the file has of `range`.
  ///
  /// The corresponding C function is `fallocate`.
  public func discard(_ range: ByteRange) async throws(BlockError) {
    let inside = range.intersection(ByteRange(0, max(length, range.lower)))
    guard !inside.isEmpty else { return }
    World.willBlock()
    do {
      try host.punchHole(inside)
    } catch {
      throw failed(error, "discard a part of", range)
    }
  }

  /// Makes all completed writes durable.
  ///
  /// The corresponding C function is `fdatasync`.
  public func sync() async throws(BlockError) {
    guard isWritable else { return }
    World.willBlock()
    do {
      try host.sync()
    } catch {
      throw failed(error, "flush")
    }
  }

  /// Holes are zeros, all else is data at its own offset.
  ///
  /// The corresponding C function is `lseek`.
  public func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    let known = byteCount.load(ordering: .relaxed)
    guard range.lower < known else { return hole(range.lower, range.count) }
    do {
      let extent = try host.extent(at: range.lower, byteCount: known)
      guard extent.isHole else {
        let count = min(extent.end - range.lower, range.count)
        return BlockStatus(count: count, isAllocated: true, isData: true, offset: range.lower)
      }
      // The padding behind the end goes with a hole before it.
      let end = extent.end == known ? range.upper : extent.end
      return hole(range.lower, min(end - range.lower, range.count))
    } catch {
      throw failed(error, "find the holes of", range)
    }
  }

  private func hole(_ offset: Int, _ count: Int) -> BlockStatus {
    BlockStatus(count: count, isAllocated: true, isZero: true, offset: offset)
  }

  /// Gives up the descriptor and its locks.
  public func close() async throws(BlockError) { host.close() }

  // MARK: - State

  /// From here on a transfer is worth handing a waiting job to another thread: some 10 µs even when
  /// the bytes are in memory.
  private static var longTransfer: Int { 1 << 16 }

  private func didGrow(to end: Int) {
    guard end > byteCount.load(ordering: .relaxed), limits.growsOnWrite else { return }
    byteCount.max(end, ordering: .relaxed)
  }

  /// After a failure: a part may have been written beyond the old end.
  private func lookAtLength() {
    if let facts = try? host.facts() { didGrow(to: facts.byteCount) }
  }

  private var printablePath: String { OpenPolicy.printable(path.string) }

  private func failed(_ errno: Errno, _ verb: String, _ range: ByteRange? = nil) -> BlockError {
    guard errno != .notSupported else {
      return BlockError(
        .unsupported, "'\(printablePath)' lies where the host cannot \(verb) a file", errno: errno)
    }
    return .host(errno, "could not \(verb) '\(printablePath)'", range: range)
  }
}

extension FileDriver: ResizableImage {
  /// Makes a just created file `length` bytes of zeros.
  func empty(to length: Int, reservingSpace: Bool) throws(Errno) {
    guard limits.growsOnWrite else {
      // QEMU too takes a device as it is.
      guard length <= self.length else { throw .noSpace }
      return
    }
    try host.truncate(to: 0)
    try host.truncate(to: length)
    if reservingSpace, length > 0 { try host.reserve(ByteRange(0, length)) }
    byteCount.store(length, ordering: .relaxed)
  }

  /// Makes the file longer, without taking space, or shorter.
  ///
  /// The corresponding C function is `ftruncate`.
  public func resize(to length: Int) async throws(BlockError) {
    guard limits.growsOnWrite else {
      guard length <= self.length else {
        throw BlockError(.unsupported, "the device '\(printablePath)' cannot be made longer")
      }
      return
    }
    do {
      try host.truncate(to: length)
    } catch {
      guard error != .notSupported else { throw failed(error, "resize") }
      throw .host(error, "Could not resize file")
    }
    byteCount.store(length, ordering: .relaxed)
  }
}

extension FileDriver: SpaceReserving {
  /// Reserves space on the host.
  ///
  /// The corresponding C function is `posix_fallocate`.
  public func reserveSpace(_ range: ByteRange) async throws(BlockError) {
    guard limits.growsOnWrite, !range.isEmpty else { return }
    World.willBlock()
    do {
      try host.reserve(range)
    } catch {
      lookAtLength()
      throw failed(error, "reserve space for", range)
    }
    didGrow(to: range.upper)
  }
}
