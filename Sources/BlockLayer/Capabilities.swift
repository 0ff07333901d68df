public import DirtyBitmap
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

/// A driver that can tell whether its image is consistent.
public protocol CheckableImage: BlockDriver {
  /// Walks all references of the image, read-only. Throws when the check could not be completed.
  func check() async throws(BlockError) -> ImageCheck
}

/// What a check found.
public struct ImageCheck: Sendable {
  /// One finding.
  public struct Finding: Sendable, Hashable {
    /// How bad it is.
    public enum Kind: Sendable, Hashable {
      /// Space is wasted; no data is in danger.
      case leak
      /// Data may be wrong, or the next write may make it so.
      case corruption
      /// Something could not be checked: nothing can be said about it.
      case checkError
    }
    /// How bad it is.
    public let kind: Kind
    /// What and where, in one line.
    public let message: String

    /// Makes a finding.
    public init(_ kind: Kind, _ message: String) {
      self.kind = kind
      self.message = message
    }
  }

  /// The findings in the order of the walk, check errors last.
  ///
  /// Above a stated limit only the counters go on.
  public var findings: [Finding] = []
  /// Whether every reference could be followed.
  ///
  /// Where not, clusters that look leaked may be in use: nothing must be freed.
  public var isComplete = true
  /// The number of leaked clusters.
  public var leaks = 0
  /// The number of corruptions.
  public var corruptions = 0
  /// The number of places that could not be checked.
  public var checkErrors = 0
  /// The end of the last cluster in use, in bytes of the file.
  public var imageEndOffset = 0
  /// The number of guest clusters.
  public var totalClusters = 0
  /// The number of guest clusters with a host cluster of their own.
  public var allocatedClusters = 0
  /// The number of those that do not follow their predecessor on the host.
  public var fragmentedClusters = 0
  /// The number of compressed clusters.
  public var compressedClusters = 0

  /// An empty result.
  public init() {}
}

/// A driver whose image can change its size.
public protocol ResizableImage: BlockDriver {
  /// Makes the image `length` bytes long. New bytes read as zeros.
  func resize(to length: Int) async throws(BlockError)
}

/// A driver with a backing file recorded in its image.
public protocol BackingFileImage: BlockDriver {
  /// The recorded name and format; nil without one.
  var recordedBacking: RecordedBacking? { get }

  /// Records another backing file, or none, without looking at any data: QEMU's unsafe rebase.
  /// One atomic switch.
  func recordBacking(_ backing: RecordedBacking?) async throws(BlockError)
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
