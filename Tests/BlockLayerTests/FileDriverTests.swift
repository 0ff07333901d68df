import Execution
import Primitives
import SystemPackage
import Testing

@testable import BlockLayer

#if canImport(Glibc)
import Glibc
#endif

@Suite struct FileDriverTests {
  let folder = TemporaryFolder()
  let writable = OpenOptions(format: "file")

  @Test func aFileThatEndsInsideASectorIsRoundedUpAndReadsZerosThere() async throws {
    try folder.make("f", pattern(700))
    let driver = try FileDriver.open(folder.file("f"), writable)
    #expect(driver.length == 1024)
    #expect(
      try await driver.bytes(690, 20) == pattern(10, from: 690) + [UInt8](repeating: 0, count: 10))
    #expect(isZero(try await driver.bytes(1000, 600)))
    #expect(folder.byteCount("f") == 700, "reading made the file longer")
    try await driver.write([1, 2, 3, 4], at: 1020)
    #expect(folder.byteCount("f") == 1024)
    #expect(try await driver.bytes(1019, 5) == [0, 1, 2, 3, 4])
  }

  @Test func aFileGrowsWhenItIsWrittenBeyondItsEndAndOnlyToThatByte() async throws {
    let driver = try FileDriver.create(folder.file("f"), length: 196_608)
    try await driver.write(pattern(8), at: 196_608)
    #expect(folder.byteCount("f") == 196_616)
    #expect(driver.length == 197_120)
    try await driver.write(pattern(8), at: 0)
    try await driver.sync()
    #expect(folder.byteCount("f") == 196_616)
  }

  @Test func holesAndDataAreToldApart() async throws {
    let driver = try FileDriver.create(folder.file("f"), length: 1 << 20)
    try await driver.write(pattern(65_536), at: 65_536)
    let whole = ByteRange(0, 1 << 20)
    var status = try await driver.status(whole)
    #expect(status == BlockStatus(count: 65_536, isAllocated: true, isZero: true, offset: 0))
    status = try await driver.status(whole.dropFirst(65_536))
    #expect(status == BlockStatus(count: 65_536, isAllocated: true, isData: true, offset: 65_536))
    status = try await driver.status(whole.dropFirst(131_072))
    #expect(status.count == (1 << 20) - 131_072 && status.isZero)
    status = try await driver.status(ByteRange(70_000, 70_010))
    #expect(status == BlockStatus(count: 10, isAllocated: true, isData: true, offset: 70_000))
  }

  @Test func theMissingPartOfTheLastSectorIsAHole() async throws {
    try folder.make("f", pattern(700))
    let driver = try FileDriver.open(folder.file("f"), writable)
    #expect(try await driver.status(ByteRange(0, 1024)).count == 700)
    let rest = try await driver.status(ByteRange(700, 1024))
    #expect(rest == BlockStatus(count: 324, isAllocated: true, isZero: true, offset: 700))
  }

  @Test(arguments: [true, false])
  func zeroedBytesReadAsZerosInsideAndBeyondTheEnd(mayUnmap: Bool) async throws {
    let driver = try FileDriver.create(folder.file("f"))
    try await driver.write(pattern(300_000), at: 0)
    let range = ByteRange(100_001, 500_003)
    do {
      try await driver.writeZeroes(range, mayUnmap: mayUnmap)
    } catch  where error.code == .unsupported {
      return  // this file system has no such call
    }
    #expect(folder.byteCount("f") == 500_003)
    #expect(isZero(try await driver.bytes(100_001, 400_002)))
    #expect(same(try await driver.bytes(0, 100_001), pattern(100_001)))
    if mayUnmap { #expect(try driver.allocatedBytes() < 131_072) }
  }

  @Test func discardedSpaceGoesBackToTheHostAndTheLengthStays() async throws {
    let driver = try FileDriver.create(folder.file("f"))
    try await driver.write(pattern(1 << 20), at: 0)
    do {
      try await driver.discard(ByteRange(0, 1 << 20))
    } catch  where error.code == .unsupported {
      return
    }
    #expect(try driver.allocatedBytes() == 0)
    #expect(folder.byteCount("f") == 1 << 20)
  }

  @Test func aFileThatIsMissingNamesItself() async throws {
    let path = folder.file("none")
    let error = await failure { _ = try FileDriver.open(path, writable) }
    #expect(error?.message == "Could not open '\(path)': No such file or directory")
    #expect(error?.code == .notFound)
    let other = folder.file("no/where")
    let second = await failure { _ = try FileDriver.create(other) }
    #expect(second?.message == "Could not create '\(other)': No such file or directory")
  }

  @Test func onlyFilesAndBlockDevicesAreOpened() async throws {
    let path = folder.folder("inner")
    let error = await failure { _ = try FileDriver.open(path, writable) }
    #expect(error?.message == "Could not open '\(path)': Is a directory")
    let readOnly = OpenOptions(format: "file", readOnly: true)
    let second = await failure { _ = try FileDriver.open(path, readOnly) }
    #expect(second?.message == "'file' driver requires '\(path)' to be a regular file")
    mkfifo(folder.file("fifo").string, 0o600)
    for options in [writable, readOnly] {
      let third = await failure { _ = try FileDriver.open(folder.file("fifo"), options) }
      #expect(third?.code == .invalidArgument)  // at once, without waiting for a writer
    }
  }

  @Test func creatingRefusesOrReplacesWhatIsThere() async throws {
    try folder.make("f", pattern(5000))
    let error = await failure { _ = try FileDriver.create(folder.file("f"), length: 10) }
    #expect(error?.code == .alreadyExists)
    #expect(try folder.contents("f") == pattern(5000))
    let driver = try FileDriver.create(folder.file("f"), length: 4096, existing: .replace)
    #expect(try folder.contents("f") == [UInt8](repeating: 0, count: 4096))
    // While it is open, nobody else's create may empty it.
    try await driver.write(pattern(100), at: 0)
    let second = await failure {
      _ = try FileDriver.create(folder.file("f"), length: 0, existing: .replace)
    }
    #expect(second?.code == .inUse)
    #expect(folder.byteCount("f") == 4096)
  }

  @Test func aFileThatCannotBeMadeWholeIsNotLeftBehind() async throws {
    let error = await failure { _ = try FileDriver.create(folder.file("f"), length: .max) }
    #expect(error?.errno == .fileTooLarge)
    #expect(folder.byteCount("f") == nil)
  }

  @Test func aWriteToAFullDeviceSaysNoSpace() async throws {
    // /dev/full takes nothing; it is no regular file, so it comes in by the back door.
    let host = try HostFile.open("/dev/full", writable: true)
    let driver = try FileDriver(host, isWritable: true)
    let error = await failure { try await driver.write(pattern(512), at: 0) }
    #expect(error?.code == .noSpace)
  }

  @Test func afterAFailedFlushNothingMoreIsWritten() async throws {
    // A pipe cannot be synced: the host's own refusal stands for a disk that fails.
    let (reader, writer) = try FileDescriptor.pipe()
    defer { try? reader.close() }
    let driver = try FileDriver(HostFile(writer, path: "disk"), isWritable: true)
    let node = try BlockGraph(
      world: .simulated(seed: 1), registry: DriverRegistry()
    ).addNode(driver, name: "disk")
    let range = ByteRange(0, 512)
    _ = await failure { try await node.write(range, from: pattern(512).span.bytes) }
    let first = await failure { try await node.flush() }
    #expect(first?.code == .io && first?.errno == .invalidArgument)
    let later = [
      await failure { try await node.write(range, from: pattern(512).span.bytes) },
      await failure { try await node.writeZeroes(range) },
      await failure { try await node.discard(range) },
      await failure { try await node.resize(to: 0) },
      await failure { try await node.flush() },
    ]
    for error in later {
      #expect(error?.code == .poisoned)
      #expect(error?.message.contains("an earlier flush failed (could not flush 'disk'") == true)
    }
  }

  @Test func resizingMakesTheFileAsLongAsAsked() async throws {
    let driver = try FileDriver.create(folder.file("f"), length: 1000)
    try await driver.resize(to: 10_000)
    #expect(folder.byteCount("f") == 10_000 && driver.length == 10_240)
    try await driver.resize(to: 100)
    #expect(folder.byteCount("f") == 100 && driver.length == 512)
  }
}
