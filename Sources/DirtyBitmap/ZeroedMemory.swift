#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A piece of address space that reads as zero and gets memory page by page, when first written.
///
/// Small pieces come from `calloc`, where a mapping of its own would waste most of a page.
struct ZeroedMemory {
  let base: UnsafeMutableRawPointer
  let byteCount: Int
  private let isMapped: Bool

  /// From this size on the memory is mapped: below it two or three untouched pages save nothing.
  private static let mappingThreshold = 64 << 10

  /// Reserves `byteCount` bytes (at least one), or nil where the system refuses.
  ///
  /// `mmap(2)`.
  init?(byteCount: Int) {
    self.byteCount = byteCount
    isMapped = byteCount >= ZeroedMemory.mappingThreshold
    guard isMapped else {
      guard let memory = calloc(max(byteCount, 1), 1) else { return nil }
      base = memory
      return
    }
    #if os(Linux)
    // NORESERVE: the reservation of a huge, sparse bitmap is no promise of memory.
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    #else
    let flags = MAP_PRIVATE | MAP_ANON
    #endif
    let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, -1, 0)
    // MAP_FAILED, a cast that is not imported, is the pointer of all ones.
    guard let memory, memory != UnsafeMutableRawPointer(bitPattern: -1) else { return nil }
    base = memory
  }

  /// Returns the memory.
  ///
  /// Nothing may use it any more.
  func deallocate() {
    if isMapped {
      munmap(base, byteCount)
    } else {
      free(base)
    }
  }

  /// How many bytes of it occupy memory now, in whole pages.
  ///
  /// `mincore(2)`; O(pages).
  var residentByteCount: Int {
    guard isMapped else { return byteCount }
    let page = Int(getpagesize())
    let pageCount = (byteCount - 1) / page + 1
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: min(pageCount, 1 << 16)) {
      states in
      var resident = 0
      var first = 0
      while first < pageCount {
        let count = min(states.count, pageCount - first)
        guard ZeroedMemory.residency(base + first * page, count * page, states) else {
          return byteCount
        }
        for index in 0..<count where states[index] & 1 != 0 { resident += 1 }
        first += count
      }
      return resident * page
    }
  }

  private static func residency(
    _ start: UnsafeMutableRawPointer, _ byteCount: Int, _ states: UnsafeMutableBufferPointer<UInt8>
  ) -> Bool {
    #if os(Linux)
    return mincore(start, byteCount, states.baseAddress) == 0
    #else
    return states.withMemoryRebound(to: CChar.self) {
      mincore(start, byteCount, $0.baseAddress) == 0
    }
    #endif
  }
}
