import BlockLayer
import QEMUTools
import SystemPackage
import Testing

#if os(Linux)
import CLinux

@Suite struct LockTests {
  let folder = TemporaryFolder()
  let writer = OpenOptions(format: "file")
  let reader = OpenOptions(format: "file", readOnly: true)
  let sharing = OpenOptions(format: "file", readOnly: true, locking: .forceShare)

  /// The bytes that somebody holds on the file.
  private func heldBytes(_ path: FilePath) throws -> [Int] {
    let descriptor = try FileDescriptor.open(path, .readWrite)
    return try descriptor.closeAfter {
      ((100..<110).map { $0 } + (200..<210)).filter { byte in
        var held: Int32 = 0
        return lamina_ofd_probe_lock(descriptor.rawValue, off_t(byte), 1, &held) == 0 && held != 0
      }
    }
  }

  @Test func theBytesAreThoseThatQEMUHolds() async throws {
    let path = try folder.make("f", pattern(1024))
    let expected: [(OpenOptions, [Int])] = [
      (writer, [100, 101, 103, 201, 203]), (reader, [100, 201, 203]), (sharing, [100]),
      (OpenOptions(format: "file", locking: .off), []),
    ]
    for (options, bytes) in expected {
      let driver = try FileDriver.open(path, options)
      #expect(try heldBytes(path) == bytes)
      try await driver.close()
      #expect(try heldBytes(path) == [], "closing left locks")
    }
  }

  @Test func twoOpenersInOneProcessKeepApartToo() async throws {
    let path = try folder.make("f", pattern(1024))
    let first = try FileDriver.open(path, writer)
    let second = await failure { _ = try FileDriver.open(path, writer) }
    #expect(second?.code == .inUse)
    #expect(
      second?.message == "Failed to get \"write\" lock: \"\(path)\" is open for writing in this "
        + "process; close it there first")
    let third = await failure { _ = try FileDriver.open(path, reader) }
    #expect(
      third?.message == "Failed to get shared \"write\" lock: \"\(path)\" is open for writing in "
        + "this process; close it there first")
    // Neither refused opener left a lock, nor took the first one's.
    #expect(try heldBytes(path) == [100, 101, 103, 201, 203])
    try await FileDriver.open(path, sharing).close()
    try await first.close()
    let readers = try [FileDriver.open(path, reader), FileDriver.open(path, reader)]
    let late = await failure { _ = try FileDriver.open(path, writer) }
    #expect(
      late?.message == "Failed to get \"write\" lock: \"\(path)\" is open for reading in this "
        + "process; close it there first")
    for driver in readers { try await driver.close() }
    try await FileDriver.open(path, writer).close()
  }

  @Test func whoWritesCannotShare() async throws {
    let path = try folder.make("f", pattern(1024))
    let options = OpenOptions(format: "file", locking: .forceShare)
    let error = await failure { _ = try FileDriver.open(path, options) }
    #expect(error?.message == "force-share=on can only be used with read-only images")
  }

  @Test(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
  func aRunningQEMUKeepsUsOutAndSaysWhoItIs() async throws {
    let path = try folder.make("f", pattern(1024))
    let qemu = try QEMUTools.start("qemu-io", ["-f", "raw", path.string])
    try qemu.send("length\n")
    _ = try qemu.read(until: "KiB")
    let error = await failure { _ = try FileDriver.open(path, reader) }
    #expect(
      error?.message == "Failed to get shared \"write\" lock: \"\(path)\" is open for writing in "
        + "another process (qemu-io, pid \(qemu.identifier)); shut the VM down, or read with "
        + "--force-share")
    // qemu-io shares writing on a raw image; we do not.
    let second = await failure { _ = try FileDriver.open(path, writer) }
    #expect(second?.code == .inUse)
    try await FileDriver.open(path, sharing).close()
    try qemu.finish()
    try await FileDriver.open(path, writer).close()
  }

  @Test(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
  func aReadingQEMUKeepsWritersOutOnly() async throws {
    let path = try folder.make("f", pattern(1024))
    let reading = try QEMUTools.start("qemu-io", ["-r", "-f", "raw", path.string])
    try reading.send("length\n")
    _ = try reading.read(until: "KiB")
    try await FileDriver.open(path, reader).close()
    // A raw reader of qemu-io shares everything; so it is ours that must not let the two meet.
    let ours = try FileDriver.open(path, writer)
    try await ours.close()
    try reading.finish()
  }

  @Test(.enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
  func weKeepAQEMUOut() async throws {
    let path = try folder.make("f", pattern(1024))
    func tryQEMU(_ arguments: [String]) throws -> String {
      let qemu = try QEMUTools.start("qemu-io", arguments + ["-f", "raw", path.string])
      try qemu.send("read 0 512\n")
      let answer = try qemu.finish()
      return answer.output + answer.errors
    }
    let ours = try FileDriver.open(path, writer)
    #expect(try tryQEMU([]).contains("Failed to get \"write\" lock"))
    #expect(try tryQEMU(["-U", "-r"]).contains("read 512/512 bytes"))
    try await ours.close()
    let reading = try FileDriver.open(path, reader)
    #expect(try tryQEMU([]).contains("Failed to get \"write\" lock"))
    #expect(try tryQEMU(["-r"]).contains("read 512/512 bytes"))
    try await reading.close()
    #expect(try tryQEMU([]).contains("read 512/512 bytes"))
  }
}
#endif
