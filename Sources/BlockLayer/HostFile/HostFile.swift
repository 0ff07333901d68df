internal import Primitives
internal import Synchronization
public import SystemPackage

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// An open file of the host: the one place that knows how bytes reach the kernel.
///
/// Calls block the thread, are repeated when a signal interrupts them, and go on after a short
/// transfer. Failures are the bare errno: who calls knows what to say about it. The descriptor is
/// closed with the object, or earlier by `close()`, and its locks go with it.
final class HostFile: Sendable {
  /// What kind of file it is.
  enum Kind {
    case regular, blockDevice, directory, other
  }

  /// What `fstat` tells.
  struct Facts {
    let kind: Kind
    let identity: FileIdentity
    /// The size in bytes; of a regular file only.
    let byteCount: Int
    /// What the file occupies on the host, in bytes.
    let allocatedBytes: Int
  }

  /// The name under which it was opened, for messages.
  let path: FilePath
  let descriptor: FileDescriptor
  private let isClosed = Atomic<Bool>(false)

  /// Takes over an open descriptor.
  init(_ descriptor: FileDescriptor, path: FilePath) {
    self.descriptor = descriptor
    self.path = path
  }

  deinit { close() }

  /// Opens an existing file; never waits for the other end of a FIFO, and follows no link in the
  /// last component when `followsLinks` is false.
  ///
  /// The corresponding C function is `open`.
  static func open(
    _ path: FilePath, writable: Bool, followsLinks: Bool = true
  ) throws(Errno) -> HostFile {
    var options: FileDescriptor.OpenOptions = [.closeOnExec, .nonBlocking]
    if !followsLinks { options.insert(.noFollow) }
    return HostFile(
      try descriptor(path, writable ? .readWrite : .readOnly, options, nil), path: path)
  }

  /// Makes a new file, open for writing; throws `fileExists` when there is one.
  ///
  /// The corresponding C function is `open`, with `O_CREAT` and `O_EXCL`.
  static func create(_ path: FilePath) throws(Errno) -> HostFile {
    let permissions: FilePermissions = [.ownerReadWrite, .groupRead, .otherRead]
    return HostFile(
      try descriptor(
        path, .readWrite, [.closeOnExec, .nonBlocking, .create, .exclusiveCreate], permissions),
      path: path)
  }

  private static func descriptor(
    _ path: FilePath, _ mode: FileDescriptor.AccessMode, _ options: FileDescriptor.OpenOptions,
    _ permissions: FilePermissions?
  ) throws(Errno) -> FileDescriptor {
    do {
      return try FileDescriptor.open(path, mode, options: options, permissions: permissions)
    } catch {
      throw error as? Errno ?? .ioError
    }
  }

  /// Gives the descriptor back; nothing happens the second time.
  ///
  /// The corresponding C function is `close`.
  func close() {
    guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
    // A child process that was just forked has the descriptor until it executes its program: by
    // closing alone, the locks would go only then.
    unlock()
    // What close() may still report was either flushed before or is not promised to be there.
    try? descriptor.close()
  }

  // MARK: - Bytes

  /// Reads the bytes of `range` into `buffer`, which has its length; returns how many there were
  /// before the file's end.
  ///
  /// The corresponding C function is `pread`.
  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) throws(Errno) -> Int {
    let descriptor = descriptor.rawValue
    return try buffer.withUnsafeMutableBytes { bytes throws(Errno) in
      var done = 0
      while done < bytes.count {
        let count = pread(
          descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done,
          off_t(range.lower + done))
        if count == 0 { break }
        if count < 0 {
          if errno == EINTR { continue }
          throw Errno(rawValue: errno)
        }
        done += count
      }
      return done
    }
  }

  /// Writes `bytes`, which have the length of `range`; beyond the end the file grows.
  ///
  /// The corresponding C function is `pwrite`.
  func write(_ range: ByteRange, from bytes: RawSpan) throws(Errno) {
    let descriptor = descriptor.rawValue
    try bytes.withUnsafeBytes { bytes throws(Errno) in
      var done = 0
      while done < bytes.count {
        let count = pwrite(
          descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done,
          off_t(range.lower + done))
        if count == 0 { throw Errno.noSpace }  // a device that takes no more and says no more
        if count < 0 {
          if errno == EINTR { continue }
          throw Errno(rawValue: errno)
        }
        done += count
      }
    }
  }

  /// Makes what was written durable, with the length that is needed to read it.
  ///
  /// The corresponding C function is `fdatasync`.
  func sync() throws(Errno) {
    #if os(Linux)
    try check { fdatasync(descriptor.rawValue) }
    #else
    // fsync does not reach the medium on Darwin; F_FULLFSYNC does, where the file system has it.
    if fcntl(descriptor.rawValue, F_FULLFSYNC) != 0 { try check { fsync(descriptor.rawValue) } }
    #endif
  }

  /// Makes the file `byteCount` bytes long.
  ///
  /// The corresponding C function is `ftruncate`.
  func truncate(to byteCount: Int) throws(Errno) {
    try check { ftruncate(descriptor.rawValue, off_t(byteCount)) }
  }

  // MARK: - Facts

  /// What the file is, and how large.
  ///
  /// The corresponding C function is `fstat`.
  func facts() throws(Errno) -> Facts {
    var status = stat()
    try check { fstat(descriptor.rawValue, &status) }
    let kind: Kind =
      switch status.st_mode & S_IFMT {
      case S_IFREG: .regular
      case S_IFBLK: .blockDevice
      case S_IFDIR: .directory
      default: .other
      }
    return Facts(
      kind: kind, identity: FileIdentity(status), byteCount: Int(status.st_size),
      allocatedBytes: Int(status.st_blocks) * 512)
  }

  /// The end of a block device, in bytes.
  ///
  /// The corresponding C function is `lseek`.
  func deviceByteCount() throws(Errno) -> Int {
    let end = lseek(descriptor.rawValue, 0, SEEK_END)
    guard end >= 0 else { throw Errno(rawValue: errno) }
    return Int(end)
  }

  /// Makes a call that returns 0 or sets errno, again while signals interrupt it.
  func check(_ call: () -> Int32) throws(Errno) {
    while call() != 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
  }
}

extension FileIdentity {
  init(_ status: stat) {
    self.init(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
  }

  /// The identity of the file at `path`, links followed; nil when there is none.
  ///
  /// The corresponding C function is `stat`.
  public init?(of path: FilePath) {
    var status = stat()
    guard path.withPlatformString({ stat($0, &status) }) == 0 else { return nil }
    self.init(status)
  }
}
