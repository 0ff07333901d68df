public import SystemPackage

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// What is done to names.
extension FilePath {
  /// The absolute name of the file, without links and dots.
  ///
  /// The corresponding C function is `realpath`.
  public func resolved() throws(Errno) -> FilePath {
    let path = isEmpty ? FilePath(".") : self
    guard let name = path.withPlatformString({ realpath($0, nil) }) else {
      throw Errno(rawValue: errno)
    }
    defer { free(name) }
    return FilePath(platformString: name)
  }

  /// Removes the file, links followed, if it is a regular one and still `file`; a failure leaves
  /// it.
  ///
  /// The corresponding C functions are `stat` and `unlink`.
  public func removeRegularFile(_ file: FileIdentity?) {
    guard let file, let real = try? resolved(), FileIdentity(of: real) == file else { return }
    if isRegularFile(real) { real.removeFile() }
  }

  /// Removes the name; a failure leaves it.
  ///
  /// The corresponding C function is `unlink`.
  func removeFile() { _ = withPlatformString { unlink($0) } }
}

private func isRegularFile(_ path: FilePath) -> Bool {
  var status = stat()
  return path.withPlatformString { stat($0, &status) } == 0
    && status.st_mode & S_IFMT == S_IFREG
}
