internal import BlockLayer
internal import Foundation
internal import SystemPackage

/// A host file and nothing between it and the kernel: the yardstick of requests.
final class BareFile: Sendable {
  private let descriptor: Int32

  /// Makes an empty file, or empties one.
  init(creating path: String) throws {
    descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o644)
    guard descriptor >= 0 else { throw RunnerError("\(path): \(Errno(rawValue: errno))") }
  }

  /// Opens a file that is there.
  init(reading path: String) throws {
    descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { throw RunnerError("\(path): \(Errno(rawValue: errno))") }
  }

  deinit { close(descriptor) }

  /// Makes all of the file a hole of `length` bytes.
  func becomeHole(_ length: Int) throws {
    guard ftruncate(descriptor, 0) == 0, ftruncate(descriptor, off_t(length)) == 0 else {
      throw RunnerError("cannot truncate: \(Errno(rawValue: errno))")
    }
  }

  /// One `pread` of all of `buffer`.
  func read(_ offset: Int, into buffer: UnsafeMutableRawBufferPointer) {
    let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
    precondition(count == buffer.count, "pread was short or failed")
  }

  /// One `pwrite` of all of `bytes`.
  func write(_ offset: Int, from bytes: UnsafeMutableRawBufferPointer) {
    let count = pwrite(descriptor, bytes.baseAddress, bytes.count, off_t(offset))
    precondition(count == bytes.count, "pwrite was short or failed")
  }

  /// Makes what was written durable, so that it does not go out while something is measured.
  func flush() { fsync(descriptor) }

  /// Makes what was written durable, as a part of what is measured.
  ///
  /// Where the host has no `fdatasync`, by `fsync`.
  func flushData() {
    #if os(Linux)
    let result = fdatasync(descriptor)
    #else
    let result = fsync(descriptor)
    #endif
    precondition(result == 0, "fdatasync failed")
  }
}

/// Memory for requests, with random bytes, aligned to pages.
final class RequestBuffer {
  let bytes: UnsafeMutableRawBufferPointer

  init(_ count: Int) {
    bytes = .allocate(byteCount: count, alignment: 4096)
    for index in 0..<count { bytes[index] = UInt8(truncatingIfNeeded: index &* 31 &+ 7) }
  }

  deinit { bytes.deallocate() }
}

/// Why the runner stops.
struct RunnerError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
