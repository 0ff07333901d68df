public import DirtyBitmap
public import Primitives
public import SystemPackage

/// A driver that keeps dirty bitmaps in its image.
public protocol PersistentBitmapStore: BlockDriver {
  /// Whether the image's version can hold bitmaps at all.
  var holdsBitmaps: Bool { get }

  /// The bitmaps in the image, the first of the directory first; an image's broken bitmap comes
  /// back inconsistent, never as an error. On a writable image they are claimed (marked in use)
  /// before the first write, not now.
  func loadBitmaps() async throws(BlockError) -> [DirtyBitmap]

  /// Throws, with QEMU's text, when a new bitmap of this name and granularity (bytes) could not
  /// be stored. `existing` are the persistent bitmaps that the node has already.
  func checkStorable(name: String, granularity: Int, existing: [DirtyBitmap]) throws(BlockError)

  /// Throws when a bitmap of `granularity` bytes could not be stored for a disk of `length` bytes.
  func checkStorable(granularity: Int, length: Int) throws(BlockError)

  /// Writes `bitmaps` to the image in place of all that it has, durably, in one atomic switch:
  /// after a crash the image has either the old ones or these. A bitmap that is being removed is
  /// not taken in; if the image has it, it stays until `removeStoredBitmap`.
  func storeBitmaps(_ bitmaps: [DirtyBitmap]) async throws(BlockError)

  /// Removes one bitmap, whose removal has begun, from the image, durably, in one atomic switch. No
  /// error if it was never stored.
  ///
  /// The others, `bitmaps`, stay as they are in an image that was written since they were stored:
  /// they are marked as in use. Else those that differ from memory are stored in the same switch,
  /// with the bits that they have on disk.
  func removeStoredBitmap(
    named name: String, keeping bitmaps: [DirtyBitmap]
  ) async throws(BlockError)
}

extension PersistentBitmapStore {
  /// It can.
  public var holdsBitmaps: Bool { true }
}

/// A driver whose image can change its size.
public protocol ResizableImage: BlockDriver {
  /// Makes the image `length` bytes long. New bytes read as zeros.
  func resize(to length: Int) async throws(BlockError)

  /// Makes the image `length` bytes long, no shorter than it is, with space for what is new as
  /// `preallocation` says.
  func grow(to length: Int, _ preallocation: Preallocation) async throws(BlockError)
}

extension ResizableImage {
  /// Makes the image longer; reserves what is new, if it can, or writes it.
  public func grow(to length: Int, _ preallocation: Preallocation) async throws(BlockError) {
    let new = ByteRange(min(self.length, length), length)
    switch preallocation {
    case .off: try await resize(to: length)
    case .falloc where self is any SpaceReserving:
      try await resize(to: length)
      if !new.isEmpty { try await (self as? any SpaceReserving)?.reserveSpace(new) }
    case .full where limits.growsOnWrite:
      let zeros = IOBuffer(byteCount: min(new.count, 1 << 20), zeroed: true)
      var rest = new
      while !rest.isEmpty {
        let piece = rest.prefix(zeros.byteCount)
        try await write(piece, from: zeros.bytes.slice(ByteRange(0, piece.count)))
        rest = rest.dropFirst(piece.count)
      }
      try await resize(to: length)
    case .metadata, .falloc, .full:
      throw BlockError(
        .unsupported, "Unsupported preallocation mode: \(preallocation.rawValue)")
    }
  }
}

/// A driver that can have its host reserve space.
public protocol SpaceReserving: BlockDriver {
  /// Reserves space for `range`, so that writing there finds room; what it holds stays.
  ///
  /// What lies beyond the end reads as zeros, and the node is longer then.
  func reserveSpace(_ range: ByteRange) async throws(BlockError)
}

/// A driver with a backing file recorded in its image.
public protocol BackingFileImage: BlockDriver {
  /// The recorded name and format; nil without one.
  var recordedBacking: RecordedBacking? { get }

  /// Records another backing file, or none, without looking at any data: QEMU's unsafe rebase.
  /// One atomic switch.
  func recordBacking(_ backing: RecordedBacking?) async throws(BlockError)

  /// Throws what `recordBacking` would refuse, before anything is done for it.
  func checkRecordable(_ backing: RecordedBacking?) throws(BlockError)
}

extension BackingFileImage {
  /// Refuses nothing.
  public func checkRecordable(_ backing: RecordedBacking?) throws(BlockError) {}
}

/// A backing file as an image names it.
public struct RecordedBacking: Hashable, Sendable {
  /// The name, relative to the image's folder unless absolute.
  public var name: String
  /// The format's name, if recorded.
  public var format: String?

  /// Makes the pair.
  public init(name: String, format: String?) {
    self.name = name
    self.format = format
  }
}

/// A driver over a file of the host.
public protocol HostBacked: BlockDriver {
  /// What tells this file from any other, whatever names it has.
  var identity: FileIdentity { get }

  /// The name under which the file was opened.
  var path: FilePath { get }

  /// The space that the host has given the file, in bytes.
  func allocatedBytes() throws(BlockError) -> Int
}

/// The identity of a host file: device and inode.
public struct FileIdentity: Hashable, Sendable {
  /// The device number.
  public let device: UInt64
  /// The inode number.
  public let inode: UInt64

  /// Makes an identity.
  public init(device: UInt64, inode: UInt64) {
    self.device = device
    self.inode = inode
  }
}
