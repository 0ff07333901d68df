internal import Primitives
internal import SystemPackage

#if os(Linux)
internal import CLinux
#endif
#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// A file's space: holes, zeros, reservation.
///
/// Each throws `notSupported` where the file system or the host has no such call.
extension HostFile {
  /// What the file has at an offset.
  struct Extent {
    let isHole: Bool
    /// Where the run ends, at most the file's end.
    let end: Int
  }

  /// Gives the space of `range` back; it reads as zeros.
  ///
  /// The length stays.
  ///
  /// The corresponding C function is `fallocate`, with `FALLOC_FL_PUNCH_HOLE`.
  func punchHole(_ range: ByteRange) throws(Errno) {
    #if os(Linux)
    try allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range)
    #else
    throw .notSupported
    #endif
  }

  /// Makes `range` read as zeros and keeps space for it; beyond the end the file grows.
  ///
  /// The corresponding C function is `fallocate`, with `FALLOC_FL_ZERO_RANGE`.
  func zero(_ range: ByteRange) throws(Errno) {
    #if os(Linux)
    try allocate(FALLOC_FL_ZERO_RANGE, range)
    #else
    throw .notSupported
    #endif
  }

  /// Reserves space for `range`, whose bytes stay; beyond the end the file grows.
  ///
  /// The corresponding C function is `posix_fallocate`.
  func reserve(_ range: ByteRange) throws(Errno) {
    #if os(Linux)
    var result = EINTR
    while result == EINTR {
      result = posix_fallocate(descriptor.rawValue, off_t(range.lower), off_t(range.count))
    }
    if result != 0 { throw Errno(rawValue: result) }
    #else
    throw .notSupported
    #endif
  }

  /// Whether there is a hole at `offset`, which lies before the file's end `byteCount`, and where
  /// the run ends.
  ///
  /// A host that cannot tell says that all is data. The corresponding C function is `lseek`, with
  /// `SEEK_DATA` and `SEEK_HOLE`.
  func extent(at offset: Int, byteCount: Int) throws(Errno) -> Extent {
    let data = lseek(descriptor.rawValue, off_t(offset), SEEK_DATA)
    if data < 0 {
      switch errno {
      case ENXIO: return Extent(isHole: true, end: byteCount)  // no data from here to the end
      case EINVAL, ENOTSUP: return Extent(isHole: false, end: byteCount)
      default: throw Errno(rawValue: errno)
      }
    }
    if data > offset { return Extent(isHole: true, end: min(Int(data), byteCount)) }
    let hole = lseek(descriptor.rawValue, off_t(offset), SEEK_HOLE)
    guard hole > offset else { return Extent(isHole: false, end: byteCount) }
    return Extent(isHole: false, end: min(Int(hole), byteCount))
  }

  #if os(Linux)
  private func allocate(_ mode: Int32, _ range: ByteRange) throws(Errno) {
    do {
      try check { fallocate(descriptor.rawValue, mode, off_t(range.lower), off_t(range.count)) }
    } catch {
      // How file systems and devices say that they have no such call, or not for these bytes.
      switch error {
      case .notSupported, .noFunction, .invalidArgument, .operationNotSupportedByDevice:
        throw .notSupported
      default: throw error
      }
    }
  }
  #endif
}
