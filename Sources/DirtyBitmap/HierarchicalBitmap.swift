public import Primitives

/// A set of granules of a disk, addressed by bytes: which parts are dirty.
///
/// The disk's `size` bytes are divided into granules of `granularity` bytes, a bit each; the last
/// granule may be cut short by the end. Setting rounds outwards and clearing rounds inwards, so
/// that rounding never loses a bit.
///
/// *Structure.* 64 granules share a word, and 64 words a bit pair one level up: *all of it is set*,
/// *some of it is*. So on up to a root of at most 64 words. A word is read only where its
/// parent says "some": regions that are all set or all clear have no words below, need no memory,
/// and are written and passed in one step whatever their size. Take 4 TiB at 64 KiB: 2^26 granules,
/// 2^20 leaf words (8 MiB), summaries of 2^14, 2^8 and 4 pairs (258 KiB). A write sets one bit
/// and mostly looks at one pair. `setAll` stores the four root pairs. A scan of a disk with
/// one dirty granule reads a root pair, two pairs and a leaf word.
///
/// *Memory* is address space until a word is written: about 1/8 byte a granule, and 1/32 of that
/// for the summaries, in whole pages. An empty and a full bitmap of any size occupy one or two
/// pages.
///
/// *Threads.* It is not safe to change from two threads, nor to read while another changes it: its
/// owner locks (`DirtyBitmap` does). Reading from several threads is safe while none changes it.
public final class HierarchicalBitmap {
  // All that changes is behind this `let`: a class's `var` costs an exclusivity check an access.
  let words: BitmapWords

  /// The size of the disk in bytes.
  ///
  /// Changed by `resize(to:)`.
  public var size: Int { words.size }

  /// The number of bytes that a bit stands for; a power of two.
  public var granularity: Int { 1 << shift }

  /// The exponent of the granularity.
  let shift: Int

  /// Makes a clear bitmap for a disk of `size` bytes with a bit for each `granularity` bytes.
  ///
  /// Throws `.invalidSize` for a negative size, `.invalidGranularity` unless the granularity is a
  /// power of two from 512 to 2 GiB, `.tooManyGranules` above 2^41 granules, and `.outOfMemory`
  /// when the system refuses the address space. O(1).
  public init(size: Int, granularity: Int) throws(BitmapError) {
    words = try HierarchicalBitmap.reserve(size: size, granularity: granularity)
    shift = granularity.exponentOfTwo
  }

  deinit {
    words.deallocate()
  }

  /// Checks the geometry and reserves words for it.
  static func reserve(
    size: Int, granularity: Int
  ) throws(BitmapError) -> BitmapWords {
    try BitmapGranularity.check(granularity)
    if size < 0 { throw .negativeSize(size) }
    let granuleCount = size.dividedRoundingUp(by: granularity)
    guard granuleCount <= BitmapLimits.maximumGranuleCount else {
      throw .tooManyGranules(size: size, granularity: granularity)
    }
    guard let words = BitmapWords(size: size, granuleCount: granuleCount) else {
      throw .outOfMemory(size: size, granularity: granularity)
    }
    return words
  }
}

/// What the bitmap amounts to.
extension HierarchicalBitmap {
  /// The bytes of the whole disk, `0 ..< size`.
  public var bounds: ByteRange { ByteRange(0, size) }

  /// The number of granules: the size divided by the granularity, rounded up.
  public var granuleCount: Int { words.granuleCount }

  /// The number of set granules.
  ///
  /// O(1): kept by every operation.
  public var count: Int { words.count }

  /// The set granules in bytes, `count` × `granularity`: not clipped to the size, as QMP's `count`
  /// of a bitmap is not.
  ///
  /// `Int.max` where the product is beyond it. O(1).
  public var dirtyByteCount: Int {
    let (product, overflow) = count.multipliedReportingOverflow(by: granularity)
    return overflow ? .max : product
  }

  /// Whether no granule is set.
  ///
  /// O(1).
  public var isEmpty: Bool { count == 0 }

  /// Whether every granule is set (also when there is none).
  ///
  /// O(1).
  public var isFull: Bool { count == granuleCount }

  /// The memory in bytes that the bits occupy now.
  ///
  /// O(pages reserved); for tests and reports.
  public var residentByteCount: Int { words.residentByteCount }
}
