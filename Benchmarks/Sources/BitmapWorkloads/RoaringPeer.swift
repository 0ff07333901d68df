#if HAS_ROARING
internal import CRoaring

/// CRoaring's compressed bitmap, from libroaring.
public final class RoaringPeer {
  private var bitmap: UnsafeMutablePointer<roaring_bitmap_t>
  private let buffer: UnsafeMutablePointer<UInt32>
  private static let bufferCapacity: UInt32 = 4096

  /// Takes over the bits of `bits`, run-optimised; nil without memory.
  public init?(_ bits: FlatBits) {
    guard let bitmap = roaring_bitmap_create() else { return nil }
    self.bitmap = bitmap
    buffer = .allocate(capacity: Int(RoaringPeer.bufferCapacity))
    bits.forEachRun { roaring_bitmap_add_range_closed(bitmap, UInt32($0), UInt32($1 - 1)) }
    roaring_bitmap_run_optimize(bitmap)
  }

  deinit {
    roaring_bitmap_free(bitmap)
    buffer.deallocate()
  }

  /// Clears every bit.
  public func makeEmpty() { roaring_bitmap_clear(bitmap) }

  /// Sets every bit of `bitCount`.
  public func makeFull(_ bitCount: Int) {
    roaring_bitmap_add_range_closed(bitmap, 0, UInt32(bitCount - 1))
    roaring_bitmap_run_optimize(bitmap)
  }

  /// Takes over the bits of `other`.
  public func copy(_ other: RoaringPeer) { roaring_bitmap_overwrite(bitmap, other.bitmap) }

  /// Sets all of `points`.
  public func insert(_ points: [Int]) {
    for point in points { roaring_bitmap_add(bitmap, UInt32(truncatingIfNeeded: point)) }
  }

  /// Sets all of `ranges`.
  public func insert(_ ranges: [(lower: Int, upper: Int)]) {
    for range in ranges {
      roaring_bitmap_add_range_closed(bitmap, UInt32(range.lower), UInt32(range.upper - 1))
    }
  }

  /// Clears all of `ranges`.
  public func remove(_ ranges: [(lower: Int, upper: Int)]) {
    for range in ranges {
      roaring_bitmap_remove_range_closed(bitmap, UInt32(range.lower), UInt32(range.upper - 1))
    }
  }

  /// The number of set bits.
  public var count: Int { Int(roaring_bitmap_get_cardinality(bitmap)) }

  /// Sets what is set in `other`.
  public func formUnion(_ other: RoaringPeer) { roaring_bitmap_or_inplace(bitmap, other.bitmap) }

  /// The length of the portable serialised form in bytes: compressed, not qcow2's.
  public var serializedByteCount: Int { roaring_bitmap_portable_size_in_bytes(bitmap) }

  /// Writes the portable serialised form.
  public func serialize(into target: UnsafeMutableRawBufferPointer) {
    guard let base = target.baseAddress else { return }
    roaring_bitmap_portable_serialize(bitmap, base.assumingMemoryBound(to: CChar.self))
  }

  /// Replaces the bits by those of a portable serialised form.
  public func deserialize(from source: UnsafeMutableRawBufferPointer) {
    guard let base = source.baseAddress else { return }
    let replacement = roaring_bitmap_portable_deserialize_safe(
      base.assumingMemoryBound(to: CChar.self), source.count)
    guard let replacement else { return }
    roaring_bitmap_free(bitmap)
    bitmap = replacement
  }

  /// Calls `body` with each run: members in order, some thousand a call, joined.
  public func forEachRun(_ body: (Int, Int) -> Void) {
    guard let iterator = roaring_create_iterator(bitmap) else { return }
    defer { roaring_free_uint32_iterator(iterator) }
    var lower = -1
    var upper = -1
    while true {
      let count = roaring_read_uint32_iterator(iterator, buffer, RoaringPeer.bufferCapacity)
      for index in 0..<Int(count) {
        let member = Int(buffer[index])
        if member != upper {
          if lower >= 0 { body(lower, upper) }
          lower = member
        }
        upper = member + 1
      }
      if count < RoaringPeer.bufferCapacity { break }
    }
    if lower >= 0 { body(lower, upper) }
  }
}
#endif
