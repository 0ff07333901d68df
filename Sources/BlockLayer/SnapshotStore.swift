/// A driver that keeps snapshots of its disk in its own image.
///
/// No request may be under way while snapshots are created, applied or deleted, and none may begin:
/// `BlockGraph.createSnapshot` and its like see to that. After a crash each of them has happened or
/// has not.
public protocol SnapshotStore: BlockDriver {
  /// The snapshots, in the order of the image's table.
  func snapshots() async throws(BlockError) -> [DiskSnapshot]

  /// Takes a snapshot of the disk as it is, durably; a name may be there already.
  ///
  /// `secondsSince1970` is when.
  func createSnapshot(
    named name: String, secondsSince1970: Int
  ) async throws(BlockError) -> DiskSnapshot

  /// Gives the disk the contents and the length of a snapshot, durably; what it held is lost.
  ///
  /// Throws `notFound` for a snapshot that is not there. This, `invalidArgument`, `invalidImage`,
  /// `corrupt` and `unsupported` say that nothing has changed; after any other error the disk may
  /// be the old one or the snapshot.
  func applySnapshot(_ reference: SnapshotReference) async throws(BlockError)

  /// Removes a snapshot, durably; the disk stays as it is.
  ///
  /// Throws `notFound` for a snapshot that is not there.
  func deleteSnapshot(_ reference: SnapshotReference) async throws(BlockError)
}

/// A snapshot of a disk that is kept in the disk's image.
public struct DiskSnapshot: Hashable, Sendable {
  /// The id, unique in its image: a decimal number, as a rule.
  public var id: String
  /// The name, which others may have too.
  public var name: String
  /// The length of the disk in bytes.
  public var length: Int
  /// When it was taken: seconds since 1970.
  public var seconds: Int
  /// When it was taken: nanoseconds of that second.
  public var nanoseconds: Int
  /// The size of the machine's saved state in bytes; 0 for a snapshot of the disk alone.
  public var vmStateByteCount: Int
  /// The guest's clock, in nanoseconds since it started.
  public var guestClockNanoseconds: UInt64
  /// The instruction count of a recorded execution, if it was recorded.
  public var instructionCount: UInt64?

  /// Makes the value of a snapshot of the disk alone.
  public init(id: String, name: String, length: Int, seconds: Int) {
    self.id = id
    self.name = name
    self.length = length
    self.seconds = seconds
    nanoseconds = 0
    vmStateByteCount = 0
    guestClockNanoseconds = 0
    instructionCount = nil
  }
}

/// Which snapshot is meant.
///
/// Ids and names are compared byte by byte.
public enum SnapshotReference: Hashable, Sendable {
  /// The one with this id.
  case id(String)
  /// The first with this name.
  case name(String)
  /// The one with this id; without it, the first with this name: what `qemu-img snapshot -a` means.
  case idOrName(String)

  /// The text to look for.
  public var text: String {
    switch self {
    case .id(let text), .name(let text), .idOrName(let text): text
    }
  }

  /// The index of the one that is meant among snapshots with these ids and names; nil for none.
  public func index(in snapshots: some RandomAccessCollection<(id: [UInt8], name: [UInt8])>)
    -> Int?
  {
    let bytes = Array(text.utf8)
    let byID = { snapshots.enumerated().first { $1.id == bytes }?.offset }
    let byName = { snapshots.enumerated().first { $1.name == bytes }?.offset }
    return switch self {
    case .id: byID()
    case .name: byName()
    case .idOrName: byID() ?? byName()
    }
  }

  /// The one that is meant among `snapshots`; throws `notFound`.
  public func find(in snapshots: [DiskSnapshot]) throws(BlockError) -> DiskSnapshot {
    let places = snapshots.map { (id: Array($0.id.utf8), name: Array($0.name.utf8)) }
    guard let index = index(in: places) else { throw notFound }
    return snapshots[index]
  }

  /// The error of a snapshot that is not there.
  public var notFound: BlockError {
    BlockError(.notFound, "Snapshot '\(OpenPolicy.printable(text))' does not exist")
  }
}
