public import BlockLayer
public import Execution
internal import Primitives
internal import Synchronization
public import SystemPackage

/// A folder of the host in memory, whose names a crash forgets like a simulated disk its bytes.
///
/// The model: a file's bytes are a `SimulatedDisk`'s. A name that was given, changed or removed is
/// certain once the folder was synced; before that a crash may keep any of the changes, in any
/// combination, but a rename never leaves less than the old or the new name of a file, nor two.
///
/// `opener` lets a graph find the files by their paths.
public final class SimulatedFolder: FileFolder {
  /// What a folder is asked to do, for faults and observers.
  public enum Operation: Hashable, Sendable {
    /// It is made, or looked at.
    case make, names
    /// A file is made, opened for reading, or locked.
    case create(String), open(String), lock(String)
    /// A name changes, or goes.
    case rename(String, to: String), remove(String)
    /// Names are made durable.
    case sync
  }

  /// The files by name.
  public typealias Names = [String: SimulatedDisk]

  private struct State {
    var visible: Names
    var durable: Names
    var pending: [Change] = []
    var locked: Set<String> = []
    var fault: (@Sendable (Operation) -> BlockError?)?
    var observer: (@Sendable () -> Void)?
    var faultsOfNewFiles = FaultPlan.none
    /// The faults that struck files that are gone.
    var lostFaultCount = 0
  }

  /// A change of names that is not durable.
  private struct Change: Sendable {
    var old: String?
    var new: String?
    var file: SimulatedDisk
  }

  /// The folder's name.
  public let path: FilePath
  /// The World of the files.
  public let world: World
  private let state: Mutex<State>

  /// Makes a folder with these files, all durable.
  public init(_ path: FilePath, _ files: Names = [:], in world: World) {
    self.path = path
    self.world = world
    state = Mutex(State(visible: files, durable: files))
  }

  /// The files that there are, by name.
  public var files: Names { state.withLock { $0.visible } }

  /// The error of each operation for which `fault` has one, from now on.
  public func fail(_ fault: (@Sendable (Operation) -> BlockError?)?) {
    state.withLock { $0.fault = fault }
  }

  /// What goes wrong with each file that is made from now on.
  public var faultsOfNewFiles: FaultPlan {
    get { state.withLock { $0.faultsOfNewFiles } }
    set { state.withLock { $0.faultsOfNewFiles = newValue } }
  }

  /// How many operations on files have been made to fail, those of files that are gone included.
  public var faultCount: Int {
    state.withLock { state in
      state.visible.values.reduce(state.lostFaultCount) { $0 + $1.faultCount }
    }
  }

  /// Tells `observer` of each step from now on: an operation on names that is about to be done, a
  /// moment in the life of an operation on a file.
  public func observe(_ observer: (@Sendable () -> Void)?) {
    state.withLock { $0.observer = observer }
    for file in files.values { watch(file, observer) }
  }

  private func watch(_ file: SimulatedDisk, _ observer: (@Sendable () -> Void)?) {
    guard let observer else { return file.observe(nil) }
    file.observe { _, _ in observer() }
  }

  /// Puts a file into the folder, durably; nil removes it.
  public func place(_ file: SimulatedDisk?, as name: String) {
    state.withLock { state in
      state.visible[name] = file
      state.durable[name] = file
    }
  }

  // MARK: - FileFolder

  /// Nothing is to be done.
  public func make() throws(BlockError) { try begin(.make) }

  /// The names, sorted, without those that begin with a dot.
  public func names() throws(BlockError) -> [String] {
    try begin(.names)
    return files.keys.filter { !$0.hasPrefix(".") }.sorted()
  }

  /// Whether there is such a file.
  public func has(_ name: String) -> Bool { files[name] != nil }

  /// Gives a file another name, and syncs.
  public func rename(_ old: String, to new: String) throws(BlockError) {
    try begin(.rename(old, to: new))
    try state.withLock { state throws(BlockError) in
      guard let file = state.visible.removeValue(forKey: old) else {
        throw .host(.noSuchFileOrDirectory, "Could not rename '\(path.appending(old))'")
      }
      state.visible[new] = file
      state.pending.append(Change(old: old, new: new, file: file))
    }
    try sync()
  }

  /// Removes a name.
  public func remove(_ name: String) throws(BlockError) {
    try begin(.remove(name))
    state.withLock { state in
      guard let file = state.visible.removeValue(forKey: name) else { return }
      state.lostFaultCount += file.faultCount
      state.pending.append(Change(old: name, new: nil, file: file))
    }
  }

  /// Makes the names durable.
  public func sync() throws(BlockError) {
    try begin(.sync)
    state.withLock { state in
      state.durable = state.visible
      state.pending = []
    }
  }

  /// Makes an empty file.
  public func create(_ name: String) throws(BlockError) -> any BlockDriver {
    try begin(.create(name))
    let file = SimulatedDisk(in: world, faults: faultsOfNewFiles)
    state.withLock { state in
      state.visible[name] = file
      state.pending.append(Change(old: nil, new: name, file: file))
    }
    watch(file, state.withLock { $0.observer })
    return file
  }

  /// The file of that name.
  public func openForReading(_ name: String) throws(BlockError) -> any BlockDriver {
    try begin(.open(name))
    return try file(name)
  }

  /// Locks a name; it is free again once what is returned is closed.
  public func lock(_ name: String) throws(BlockError) -> any BlockDriver {
    try begin(.lock(name))
    let isFree = state.withLock { $0.locked.insert(name).inserted }
    guard isFree else { throw BlockError(.inUse, "'\(path.appending(name))' is locked") }
    return FolderLock { [self] in state.withLock { state in _ = state.locked.remove(name) } }
  }

  private func begin(_ operation: Operation) throws(BlockError) {
    let (fault, observer) = state.withLock { ($0.fault, $0.observer) }
    observer?()
    if let error = fault?(operation) { throw error }
  }

  private func file(_ name: String) throws(BlockError) -> SimulatedDisk {
    guard let file = files[name] else {
      throw .host(.noSuchFileOrDirectory, "Could not open '\(path.appending(name))'")
    }
    return file
  }

  // MARK: - Graphs

  /// What finds the files of `folders` by their paths, for a `DriverRegistry`.
  public static func opener(_ folders: [SimulatedFolder]) -> DriverRegistry.HostOpener {
    { path, _ throws(BlockError) in
      let place = path.removingLastComponent()
      guard let folder = folders.first(where: { $0.path == place }),
        let name = path.lastComponent?.string
      else { throw .host(.noSuchFileOrDirectory, "Could not open '\(path)'") }
      return try folder.openForReading(name)
    }
  }

  // MARK: - Crashes

  /// A moment of the folder, taken down: the names and bytes that are durable, and those that may
  /// be.
  public func crashPoint() -> FolderCrashPoint {
    state.withLock { state in
      let files = Array(state.durable.values) + state.pending.map(\.file)
      return FolderCrashPoint(
        path: path, durable: state.durable,
        changes: state.pending.map { ($0.old, $0.new, $0.file) },
        bytes: Dictionary(
          files.map { (ObjectIdentifier($0), $0.crashPoint()) }, uniquingKeysWith: { one, _ in one }
        ))
    }
  }
}

/// A moment of a simulated folder.
public struct FolderCrashPoint: Sendable {
  let path: FilePath
  let durable: SimulatedFolder.Names
  let changes: [(old: String?, new: String?, file: SimulatedDisk)]
  let bytes: [ObjectIdentifier: CrashPoint]

  /// A folder as a crash at this moment could have left it, chosen by the seed, in a World of its
  /// own.
  public func folder(in world: World, seed: UInt64) -> SimulatedFolder {
    var random = SeededGenerator(seed: seed, label: "crashed folder")
    var names = durable
    for change in changes where Bool.random(using: &random) {
      if let old = change.old, names[old] === change.file { names[old] = nil }
      if let new = change.new {
        for (name, file) in names where file === change.file { names[name] = nil }
        names[new] = change.file
      }
    }
    var files: SimulatedFolder.Names = [:]
    for name in names.keys.sorted() {
      guard let file = names[name], let point = bytes[ObjectIdentifier(file)] else { continue }
      let states = point.states(.brief(maximum: 16), seed: random.next())
      let state = states[Int.random(in: 0..<states.count, using: &random)]
      files[name] = SimulatedDisk(state.image, in: world)
    }
    return SimulatedFolder(path, files, in: world)
  }
}

/// A lock on a simulated folder's name.
private final class FolderLock: BlockDriver {
  let driverName = "lock"
  let limits = BlockLimits()
  var length: Int { 0 }
  private let release: @Sendable () -> Void

  init(_ release: @escaping @Sendable () -> Void) { self.release = release }

  func read(_ range: ByteRange, into buffer: inout MutableRawSpan) async throws(BlockError) {}
  func write(_ range: ByteRange, from bytes: RawSpan) async throws(BlockError) {}
  func status(_ range: ByteRange) async throws(BlockError) -> BlockStatus {
    BlockStatus(count: range.count)
  }
  func close() async throws(BlockError) { release() }
}
