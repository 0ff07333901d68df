public import SystemPackage

/// A folder whose files are made, named and removed durably: the host's, or a simulated one.
public protocol FileFolder: Sendable {
  /// The folder's name.
  var path: FilePath { get }

  /// Makes the folder if it is not there.
  func make() throws(BlockError)

  /// The names in the folder, sorted, without those that begin with a dot.
  func names() throws(BlockError) -> [String]

  /// Whether the folder has something of that name.
  func has(_ name: String) -> Bool

  /// Gives the file `old` the name `new`, in place of a file that has it, and makes that durable.
  ///
  /// What the file holds must be durable before.
  func rename(_ old: String, to new: String) throws(BlockError)

  /// Removes a file; nothing happens when it is not there.
  ///
  /// Durable once the folder is synced.
  func remove(_ name: String) throws(BlockError)

  /// Makes the folder's names durable.
  func sync() throws(BlockError)

  /// Makes an empty file of that name, open for writing; one that is there is emptied.
  func create(_ name: String) throws(BlockError) -> any BlockDriver

  /// Opens a file for reading, whoever may be writing to it.
  func openForReading(_ name: String) throws(BlockError) -> any BlockDriver

  /// Keeps others away from whom the file of that name, made if need be, is locked in the same way.
  ///
  /// Throws `inUse` when somebody has it. The lock ends when what is returned is closed.
  func lock(_ name: String) throws(BlockError) -> any BlockDriver
}

extension HostFolder: FileFolder {
  /// Makes an empty file of that name, open for writing; one that is there is emptied.
  public func create(_ name: String) throws(BlockError) -> any BlockDriver {
    try FileDriver.create(path.appending(name), existing: .replace)
  }

  /// Opens a file for reading, whoever may be writing to it.
  public func openForReading(_ name: String) throws(BlockError) -> any BlockDriver {
    try FileDriver.open(
      path.appending(name), OpenOptions(format: "raw", readOnly: true, locking: .forceShare))
  }

  /// Locks the file of that name against others who do the same.
  public func lock(_ name: String) throws(BlockError) -> any BlockDriver {
    let place = path.appending(name)
    if !has(name) {
      do throws(BlockError) {
        return try FileDriver.create(place, existing: .refuse)
      } catch {
        // Somebody was faster: then it is there, and theirs.
        guard error.code == .alreadyExists else { throw error }
      }
    }
    return try FileDriver.open(place, OpenOptions(format: "file"))
  }
}
