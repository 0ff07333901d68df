internal import SystemPackage

#if os(Linux)
internal import CLinux
#elseif canImport(Darwin)
internal import Darwin
#endif

/// QEMU's image locks, so that a running VM and we keep apart.
///
/// They are byte locks of the open file description, beyond any data's meaning. A user holds a
/// *shared* lock on byte 100 + b for each permission b that it takes, and one on byte 200 + b for
/// each that it shares with nobody. Then it looks whether anybody else holds byte 200 + b of what
/// it takes, or byte 100 + b of what it does not share. Who takes first and looks afterwards can at
/// worst refuse two that come at once, never let both through.
///
/// The bits are those of `Permissions`: 0 consistent read, 1 write, 2 write unchanged, 3 resize.
extension HostFile {
  /// Takes the locks of a user that takes and shares these permissions.
  ///
  /// Throws `inUse`, with the holder's name where it can be found, and holds nothing then. A host
  /// that has no such locks protects nothing.
  func lock(_ permissions: EdgePermissions) throws(BlockError) {
    #if os(Linux)
    let unshared = Permissions.all.subtracting(permissions.shared)
    do throws(LockFailure) {
      try setLocks(Self.takenBase, permissions.taken)
      try setLocks(Self.unsharedBase, unshared)
      try checkFree(Self.unsharedBase, permissions.taken)
      try checkFree(Self.takenBase, unshared)
    } catch {
      unlock()
      switch error {
      case .conflict(let byte): throw conflict(on: byte, permissions)
      // A kernel or a file system without these locks, as QEMU's `locking=auto` has it.
      case .host(.invalidArgument), .host(.notSupported), .host(.noFunction): return
      case .host(let errno):
        throw .host(
          errno, "Could not lock '\(path)' (if it is yours alone, open it with locking off)")
      }
    }
    #else
    // No locks per permission: one for the file, held by writers alone or by readers together.
    let operation = permissions.taken.contains(.write) ? LOCK_EX : LOCK_SH
    guard permissions.shared != .all, flock(descriptor.rawValue, operation | LOCK_NB) != 0 else {
      return
    }
    throw BlockError(
      .inUse, "Failed to get \"write\" lock: \"\(path)\" is open in another process")
    #endif
  }

  /// Gives up all locks of the open file description.
  func unlock() {
    #if os(Linux)
    _ = lamina_ofd_set_lock(descriptor.rawValue, Int16(F_UNLCK), Self.takenBase, 200)
    #else
    _ = flock(descriptor.rawValue, LOCK_UN)
    #endif
  }

  #if os(Linux)
  private static var takenBase: off_t { 100 }
  private static var unsharedBase: off_t { 200 }

  private enum LockFailure: Error {
    /// Somebody else holds this byte.
    case conflict(off_t)
    case host(Errno)
  }

  private func setLocks(_ base: off_t, _ permissions: Permissions) throws(LockFailure) {
    for permission in permissions.single {
      let byte = base + permission.bit
      let result = lamina_ofd_set_lock(descriptor.rawValue, Int16(F_RDLCK), byte, 1)
      switch result {
      case 0: break
      case EAGAIN, EACCES: throw .conflict(byte)  // held exclusively, which QEMU never does
      default: throw .host(Errno(rawValue: result))
      }
    }
  }

  private func checkFree(_ base: off_t, _ permissions: Permissions) throws(LockFailure) {
    for permission in permissions.single where try isHeld(base + permission.bit) {
      throw .conflict(base + permission.bit)
    }
  }

  /// Whether another open file description holds the byte.
  private func isHeld(_ byte: off_t) throws(LockFailure) -> Bool {
    var held: Int32 = 0
    let result = lamina_ofd_probe_lock(descriptor.rawValue, byte, 1, &held)
    guard result == 0 else { throw .host(Errno(rawValue: result)) }
    return held != 0
  }

  /// The error of who wanted `permissions` and met a lock on `byte`.
  private func conflict(on byte: off_t, _ permissions: EdgePermissions) -> BlockError {
    let isTaken = byte < Self.unsharedBase
    let bit = byte - (isTaken ? Self.takenBase : Self.unsharedBase)
    let name = Permissions(rawValue: 1 << UInt8(bit)).lockName
    let isWritten = (try? isHeld(Self.takenBase + Permissions.write.bit)) ?? false
    let holder = LockHolder.find(of: self, byte: Int(byte))
    let advice =
      holder?.isThisProcess ?? false
      ? "close it there first"
      : isWritten ? "shut the VM down, or read with --force-share" : "wait until it is closed there"
    return BlockError(
      .inUse,
      "Failed to get \(isTaken ? "shared " : "")\"\(name)\" lock: "
        + "\"\(OpenPolicy.printable(path.string))\" is open for "
        + "\(isWritten ? "writing" : "reading") in \(holder?.description ?? "another process"); "
        + advice)
  }
  #endif
}

#if os(Linux)
extension Permissions {
  /// The permissions of the set, one by one.
  fileprivate var single: [Permissions] {
    (0..<4).map { Permissions(rawValue: 1 << $0) }.filter { contains($0) }
  }

  /// The bit's number, of a single permission.
  fileprivate var bit: off_t { off_t(rawValue.trailingZeroBitCount) }

  /// The name in messages about locks, as QEMU prints it.
  fileprivate var lockName: String { names.joined() }
}
#endif
