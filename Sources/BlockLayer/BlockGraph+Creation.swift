public import SystemPackage

/// Making images.
extension BlockGraph {
  /// Makes an image of a format in a host file, durably.
  ///
  /// What can be refused is refused before the file is touched. A file that is there is refused
  /// too, or replaced if `replacing`; one that a node of this graph uses is never replaced. After a
  /// failure a new file is gone again, and a part of the image may be in one that was there.
  public func createImage(
    at path: FilePath, format: String, _ image: NewImage, replacing: Bool = false
  ) async throws(BlockError) {
    let creator = try registry.creator(format)
    try creator.check(image)
    try checkUnused(path)
    let (driver, isNew) = try await newHostFile(path, replacing)
    let file = try addNode(driver)
    do throws(BlockError) {
      try await creator.create(image, file)
    } catch {
      let made = file.hostIdentity
      try? await close(file)  // the first failure is the one to tell
      if isNew { path.removeRegularFile(made) }
      throw error.prefixed("Could not create '\(OpenPolicy.printable(path.string))'")
    }
    try await close(file)
  }

  private func newHostFile(
    _ path: FilePath, _ replacing: Bool
  ) async throws(BlockError) -> (driver: any BlockDriver, isNew: Bool) {
    let create = try registry.hostFileCreation()
    do throws(BlockError) {
      return (try await create(path, .refuse), true)
    } catch {
      guard replacing, error.code == .alreadyExists else { throw error }
      return (try await create(path, .replace), false)
    }
  }

  /// Throws, with QEMU's text, when a node of this graph uses the host file of that name.
  ///
  /// Locks would tell too, where they are not switched off.
  public func checkUnused(_ path: FilePath) throws(BlockError) {
    guard let identity = FileIdentity(of: path) else { return }
    for node in nodes where (node.driver as? any HostBacked)?.identity == identity {
      throw BlockError(.inUse, "Failed to get \"write\" lock", node: node.name)
    }
  }
}

extension BlockNode {
  /// How an image in `folder` names this node's image as its backing file.
  ///
  /// An image beside it is named by its last component, so that both can be moved together;
  /// another by its absolute path. Throws when it lies in no host file.
  public func backingReference(from folder: FilePath) throws(BlockError) -> RecordedBacking {
    let image = dataNode
    guard let path = image.hostPath else {
      throw BlockError(
        .unsupported, "the image of node '\(name)' lies in no host file that another could name",
        node: name)
    }
    var file = path.string
    if folder.isSameFolder(as: path.removingLastComponent()) {
      file = path.lastComponent?.string ?? file
    } else if !path.isAbsolute {
      do throws(Errno) { file = try path.resolved().string } catch {
        throw .host(error, "Could not find '\(OpenPolicy.printable(path.string))'")
      }
    }
    return RecordedBacking(name: file, format: image.driver.driverName)
  }

  /// The host file in which the image lies.
  public var hostPath: FilePath? { hostFile?.path }

  /// What tells that file from any other.
  public var hostIdentity: FileIdentity? { hostFile?.identity }

  private var hostFile: (any HostBacked)? {
    let image = dataNode
    let file = image.primary?.dataNode ?? image
    return file.driver as? any HostBacked
  }
}

extension FilePath {
  /// Whether both name one file, or would where none is there yet.
  public func isSameFile(as other: FilePath) -> Bool {
    let identity = FileIdentity(of: self)
    guard identity == FileIdentity(of: other) else { return false }
    if identity != nil { return true }
    return lastComponent == other.lastComponent
      && removingLastComponent().isSameFolder(as: other.removingLastComponent())
  }

  /// Whether both name one folder; the empty path is the current one.
  public func isSameFolder(as other: FilePath) -> Bool {
    let one = isEmpty ? "." : self
    let two = other.isEmpty ? "." : other
    if one.lexicallyNormalized() == two.lexicallyNormalized() { return true }
    guard let identity = FileIdentity(of: one) else { return false }
    return identity == FileIdentity(of: two)
  }
}
