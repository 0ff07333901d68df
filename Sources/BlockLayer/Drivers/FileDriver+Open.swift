internal import Primitives
public import SystemPackage

/// Opening and making files.
extension FileDriver {
  /// Whether a file that is to be made may be there already.
  public enum Existing: Sendable {
    /// It is an error.
    case refuse
    /// Its contents are thrown away, once its locks are ours.
    case replace
  }

  /// Opens a regular file or a block device.
  ///
  /// Takes QEMU's locks unless the options say otherwise. Throws `notFound` or `io` with the errno,
  /// `invalidArgument` for other kinds of files and, where the options say so, for devices, `inUse`
  /// when another process has it, `refused`
  /// when it does not lie where the options confine it to.
  public static func open(_ path: FilePath, _ options: OpenOptions) throws(BlockError) -> FileDriver
  {
    if case .forceShare = options.locking, !options.isReadOnly {
      throw BlockError(.invalidArgument, "force-share=on can only be used with read-only images")
    }
    return try make(
      openHost(path, options), options.locking, isWritable: !options.isReadOnly,
      acceptsDevices: !options.isRegularFileOnly)
  }

  /// Opens a regular file or a block device.
  ///
  /// See `open(_:_:)` with a `FilePath`.
  public static func open(_ path: String, _ options: OpenOptions) throws(BlockError) -> FileDriver {
    try open(FilePath(path), options)
  }

  /// Makes a file of `length` bytes that read as zeros, and opens it for writing.
  ///
  /// With `reservingSpace` the host promises the space (`posix_fallocate`). Throws `alreadyExists`,
  /// `inUse`, `noSpace`, `io` with the errno. After a failure a file that was not there before is
  /// gone again. An existing block device only has to be long enough.
  public static func create(
    _ path: FilePath, length: Int = 0, existing: Existing = .refuse,
    locking: OpenOptions.Locking = .locked, reservingSpace: Bool = false
  ) throws(BlockError) -> FileDriver {
    let host: HostFile
    let isNew: Bool
    do throws(Errno) {
      (host, isNew) = try createHost(path, existing)
    } catch {
      throw couldNot("create", path, error)
    }
    do throws(BlockError) {
      let driver = try make(host, locking, isWritable: true)
      do throws(Errno) {
        try driver.empty(to: length, reservingSpace: reservingSpace)
      } catch {
        throw couldNot("create", path, error)
      }
      return driver
    } catch {
      if isNew { path.removeFile() }
      throw error
    }
  }

  /// Makes a file of `length` bytes that read as zeros, and opens it for writing.
  ///
  /// See `create(_:length:existing:locking:reservingSpace:)` with a `FilePath`.
  public static func create(
    _ path: String, length: Int = 0, existing: Existing = .refuse,
    locking: OpenOptions.Locking = .locked, reservingSpace: Bool = false
  ) throws(BlockError) -> FileDriver {
    try create(
      FilePath(path), length: length, existing: existing, locking: locking,
      reservingSpace: reservingSpace)
  }

  /// Makes a file, or opens one that is there if `replacing`, and takes its locks.
  ///
  /// What that holds is left to the caller, who empties it once everything else is ready. Says
  /// whether the file is new.
  static func createKeepingContents(
    _ path: FilePath, replacing: Bool
  ) throws(BlockError) -> (driver: FileDriver, isNew: Bool) {
    let host: HostFile
    let isNew: Bool
    do throws(Errno) {
      (host, isNew) = try createHost(path, replacing ? .replace : .refuse)
    } catch {
      throw couldNot("create", path, error)
    }
    do throws(BlockError) {
      return (try make(host, .locked, isWritable: true), isNew)
    } catch {
      if isNew { path.removeFile() }
      throw error
    }
  }

  // MARK: - Steps

  private static func openHost(
    _ path: FilePath, _ options: OpenOptions
  ) throws(BlockError) -> HostFile {
    let real = try confine(path, options.confinement)
    do throws(Errno) {
      // A link put there since is not followed.
      let followsLinks = options.confinement == nil
      return try HostFile.open(
        real, writable: !options.isReadOnly, followsLinks: followsLinks)
    } catch {
      throw couldNot("open", path, error)
    }
  }

  /// The name to open: with every link resolved and looked at, when it is confined to a folder.
  private static func confine(_ path: FilePath, _ folder: FilePath?) throws(BlockError) -> FilePath
  {
    guard let folder else { return path }
    do throws(Errno) {
      let real = try path.resolved()
      if real.starts(with: try folder.resolved()) { return real }
    } catch {
      throw couldNot("open", path, error)
    }
    throw BlockError(
      .refused,
      "'\(OpenPolicy.printable(path.string))' was not opened: links lead it out of "
        + "'\(folder.isEmpty ? "." : folder.string)', in which the open policy confines it")
  }

  private static func createHost(
    _ path: FilePath, _ existing: Existing
  ) throws(Errno) -> (HostFile, isNew: Bool) {
    do throws(Errno) {
      return (try HostFile.create(path), true)
    } catch {
      guard error == .fileExists, existing == .replace else { throw error }
      return (try HostFile.open(path, writable: true), false)
    }
  }

  private static func make(
    _ host: HostFile, _ locking: OpenOptions.Locking, isWritable: Bool,
    acceptsDevices: Bool = true
  ) throws(BlockError) -> FileDriver {
    let facts: HostFile.Facts
    do throws(Errno) {
      facts = try host.facts()
    } catch {
      throw couldNot("open", host.path, error)
    }
    guard facts.kind == .regular || (acceptsDevices && facts.kind == .blockDevice) else {
      throw BlockError(
        .invalidArgument,
        "'file' driver requires '\(OpenPolicy.printable(host.path.string))' to be a regular file",
        errno: facts.kind == .directory ? .isDirectory : nil)
    }
    switch locking {
    case .locked: try host.lock(isWritable ? .imageWriter : .imageReader)
    case .forceShare: try host.lock(.sharingReader)
    case .off: break
    }
    do throws(Errno) {
      return try FileDriver(host, isWritable: isWritable)
    } catch {
      throw couldNot("open", host.path, error)
    }
  }

  private static func couldNot(_ verb: String, _ path: FilePath, _ errno: Errno) -> BlockError {
    .host(errno, "Could not \(verb) '\(OpenPolicy.printable(path.string))'")
  }
}

extension EdgePermissions {
  /// What the user of a writable image takes of its file.
  static let imageWriter = EdgePermissions(
    taken: [.consistentRead, .write, .resize], shared: [.consistentRead, .writeUnchanged])
  /// What the user of a read-only image takes of its file.
  static let imageReader = EdgePermissions(
    taken: .consistentRead, shared: [.consistentRead, .writeUnchanged])
  /// What who reads beside a writer takes.
  static let sharingReader = EdgePermissions(taken: .consistentRead, shared: .all)
}
