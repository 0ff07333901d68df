public import SystemPackage

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A folder of the host: the calls that neither Swift nor swift-system have.
public struct HostFolder: Sendable {
  /// The folder's name.
  public let path: FilePath

  /// The folder of that name, whether or not it is there.
  public init(path: FilePath) { self.path = path }

  /// Makes the folder if it is not there.
  ///
  /// The corresponding C function is `mkdir`.
  public func make() throws(BlockError) {
    if path.withPlatformString({ mkdir($0, 0o777) }) == 0 || errno == EEXIST { return }
    throw .host(Errno(rawValue: errno), "Could not make the folder '\(path)'")
  }

  /// The names in the folder, sorted, without those that begin with a dot.
  ///
  /// The corresponding C functions are `opendir` and `readdir`.
  public func names() throws(BlockError) -> [String] {
    guard let stream = path.withPlatformString({ opendir($0) }) else {
      throw .host(Errno(rawValue: errno), "Could not open the folder '\(path)'")
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    // A list that ends early would hide files, and their names would be given again.
    guard errno == 0 else {
      throw .host(Errno(rawValue: errno), "Could not read the folder '\(path)'")
    }
    return names.sorted()
  }

  /// Whether the folder has something of that name.
  ///
  /// The corresponding C function is `access`.
  public func has(_ name: String) -> Bool {
    path.appending(name).withPlatformString { access($0, F_OK) } == 0
  }

  /// Gives the file `old` of the folder the name `new`, and makes that durable.
  ///
  /// The corresponding C functions are `rename` and `fsync`.
  public func rename(_ old: String, to new: String) throws(BlockError) {
    let from = path.appending(old)
    let to = path.appending(new)
    let status = from.withPlatformString { from in
      to.withPlatformString { to in systemRename(from, to) }
    }
    guard status == 0 else {
      throw .host(Errno(rawValue: errno), "Could not rename '\(from)' to '\(to)'")
    }
    try sync()
  }

  /// Makes the folder's names durable.
  public func sync() throws(BlockError) {
    let descriptor = path.withPlatformString { open($0, O_RDONLY) }
    guard descriptor >= 0 else {
      throw .host(Errno(rawValue: errno), "Could not open the folder '\(path)'")
    }
    defer { _ = close(descriptor) }
    guard fsync(descriptor) == 0 else {
      throw .host(Errno(rawValue: errno), "Could not make the folder '\(path)' durable")
    }
  }

  /// Removes a file of the folder; nothing happens when it is not there.
  ///
  /// The corresponding C function is `unlink`.
  public func remove(_ name: String) throws(BlockError) {
    let file = path.appending(name)
    if file.withPlatformString({ unlink($0) }) == 0 || errno == ENOENT { return }
    throw .host(Errno(rawValue: errno), "Could not remove '\(file)'")
  }
}

private func systemRename(_ from: UnsafePointer<CChar>, _ to: UnsafePointer<CChar>) -> Int32 {
  #if canImport(Glibc)
  Glibc.rename(from, to)
  #elseif canImport(Musl)
  Musl.rename(from, to)
  #elseif canImport(Darwin)
  Darwin.rename(from, to)
  #endif
}
