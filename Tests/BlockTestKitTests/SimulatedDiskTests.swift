import BlockLayer
import BlockTestKit
import Execution
import Primitives
import SystemPackage
import Testing

/// The promises of the disk model, each with a test, and what it does not promise.
@Suite struct SimulatedDiskTests {
  @Test func readersSeeAWriteBeforeAnySync() throws {
    try withDisk(SparseImage(length: 2048)) { disk in
      try await disk.fill(7, sector: 1)
      #expect(disk.visibleImage.sectorValues == [0, 7, 0, 0])
      #expect(try await disk.bytes(ByteRange(512, 1024)) == [UInt8](repeating: 7, count: 512))
      #expect(disk.durableImage.sectorValues == [0, 0, 0, 0])
    }
  }

  @Test func m1ASectorIsOldOrNewEvenWhereAWriteCoversAPartOfIt() throws {
    try withDisk(SparseImage(sectors: [1, 1])) { disk in
      try await disk.write(ByteRange(500, 530), from: [UInt8](repeating: 2, count: 30).span.bytes)
      let contents = disk.crashStates(seed: 1).map(\.image.bytes)
      #expect(contents.count == 4)  // each of both sectors old or new
      for bytes in contents {
        #expect(Set(bytes[500..<512]).count == 1)
        #expect(Set(bytes[512..<530]).count == 1)
        #expect(Set(bytes[..<500]) == [1] && Set(bytes[530...]) == [1])
      }
    }
  }

  @Test func m2ChangesWithoutASyncBetweenThemKnowNoOrder() throws {
    try withDisk(SparseImage(sectors: [1, 1])) { disk in
      try await disk.fill(2, sector: 0)
      try await disk.fill(3, sector: 1)
      let states = Set(disk.crashStates(seed: 1).map(\.image.sectorValues))
      #expect(states == [[1, 1], [2, 1], [1, 3], [2, 3]])
    }
  }

  @Test func m2OfSeveralWritesToOneSectorAnyMayWin() throws {
    try withDisk(SparseImage(sectors: [1])) { disk in
      for value in [2, 3, 4] as [UInt8] { try await disk.fill(value, sector: 0) }
      #expect(Set(disk.crashStates(seed: 1).map(\.image.sectorValues)) == [[1], [2], [3], [4]])
    }
  }

  @Test func m3ASyncMakesDurableWhatHadCompleted() throws {
    try withDisk(SparseImage(sectors: [1, 1])) { disk in
      try await disk.fill(2, sector: 0)
      try await disk.fill(3, sector: 0)
      try await disk.sync()
      try await disk.fill(4, sector: 1)
      #expect(disk.durableImage.sectorValues == [3, 1])
      #expect(Set(disk.crashStates(seed: 1).map(\.image.sectorValues)) == [[3, 1], [3, 4]])
      try await disk.sync()
      #expect(disk.pending.isEmpty)
      #expect(disk.crashStates(seed: 1).map(\.image.sectorValues) == [[3, 4]])
    }
  }

  @Test func m3AWriteOnItsWayWhenTheSyncIsSubmittedStaysUncertain() throws {
    var latency = FaultPlan.Latency(nanoseconds: 0...0)
    latency[.write] = 100...100
    latency[.sync] = 10...10
    let world = World.simulated(seed: 3)
    let disk = SimulatedDisk(
      SparseImage(sectors: [1, 1]), in: world, faults: FaultPlan(latency: latency))
    try world.runBlocking {
      try await disk.fill(2, sector: 0)
      let write = world.spawn { try? await disk.fill(3, sector: 1) }
      await world.sleep(nanoseconds: 20)  // the write has reached the disk and takes 80 more
      try await disk.sync()
      #expect(disk.durableImage.sectorValues == [2, 1])
      #expect(disk.pending.map(\.progress) == [.inFlight])
      await write.wait()
      #expect(disk.pending.map(\.progress) == [.completed])
      #expect(Set(disk.crashStates(seed: 1).map(\.image.sectorValues)) == [[2, 1], [2, 3]])
      try await disk.sync()
      #expect(disk.durableImage.sectorValues == [2, 3])
    }
  }

  @Test func m3AfterAFailedSyncNothingBeforeItEverBecomesCertain() throws {
    try withDisk(SparseImage(sectors: [1, 1]), faults: .failing([.sync], nth: 1)) { disk in
      try await disk.fill(2, sector: 0)
      await #expect(throws: BlockError(.io, "", errno: .ioError)) { try await disk.sync() }
      try await disk.fill(3, sector: 1)
      try await disk.sync()  // succeeds, and promises nothing about what the first one lost
      #expect(disk.visibleImage.sectorValues == [2, 3])
      #expect(disk.durableImage.sectorValues == [1, 3])
      #expect(Set(disk.crashStates(seed: 1).map(\.image.sectorValues)) == [[1, 3], [2, 3]])
      try await disk.fill(4, sector: 0)
      try await disk.sync()  // writing anew is what helps
      #expect(disk.crashStates(seed: 1).map(\.image.sectorValues) == [[4, 3]])
    }
  }

  @Test func m4TheLengthIsOneOfThoseSinceTheLastSync() throws {
    try withDisk(SparseImage(sectors: [1])) { disk in
      try await disk.fill(2, sector: 1)
      try await disk.fill(3, sector: 2)
      let states = Set(disk.crashStates(seed: 1).map(\.image.sectorValues))
      // Lengths of 1, 2 and 3 sectors; a part that was not written reads as zeros.
      #expect(
        states == [[1], [1, 0], [1, 2], [1, 0, 0], [1, 2, 0], [1, 0, 3], [1, 2, 3]])
    }
  }

  @Test func m5TruncationIsAWrite() throws {
    try withDisk(SparseImage(sectors: [1, 2])) { disk in
      try await disk.resize(to: 512)
      try await disk.resize(to: 1024)
      #expect(disk.visibleImage.sectorValues == [1, 0])
      let states = Set(disk.crashStates(seed: 1).map(\.image.sectorValues))
      #expect(states == [[1], [1, 0], [1, 2]])
    }
  }

  @Test func m5ADiscardIsAWrite() throws {
    try withDisk(SparseImage(sectors: [1, 2, 3, 0])) { disk in
      try await disk.discard(ByteRange(512, 2048))
      #expect(disk.visibleImage.sectorValues == [1, 0, 0, 0])
      let states = Set(disk.crashStates(seed: 1).map(\.image.sectorValues))
      #expect(states == [[1, 2, 3, 0], [1, 0, 3, 0], [1, 2, 0, 0], [1, 0, 0, 0]])
    }
  }

  @Test func zerosOverAWriteOfTheSameEpochAreAVersionOfTheirOwn() throws {
    try withDisk(SparseImage(sectors: [0])) { disk in
      try await disk.fill(5, sector: 0)
      try await disk.writeZeroes(ByteRange(0, 512), mayUnmap: true)
      try await disk.fill(6, sector: 0)
      #expect(Set(disk.crashStates(seed: 1).map(\.image.sectorValues)) == [[0], [5], [6]])
    }
  }

  @Test func aCrashPointIsNotChangedByWhatFollows() throws {
    try withDisk(SparseImage(sectors: [1])) { disk in
      try await disk.fill(2, sector: 0)
      let point = disk.crashPoint()
      try await disk.sync()
      try await disk.fill(3, sector: 0)
      #expect(Set(point.states(seed: 1).map(\.image.sectorValues)) == [[1], [2]])
      #expect(point.visible.sectorValues == [2])
    }
  }

  @Test func anObserverOfASyncFindsEverythingStillPending() throws {
    let counts = try withDisk(SparseImage(sectors: [1])) { disk in
      let found = Recorder<Int>()
      disk.observe { [unowned disk] operation, phase in
        if operation == .sync { found.add(phase == .completed ? -1 : disk.pending.count) }
      }
      try await disk.fill(2, sector: 0)
      try await disk.sync()
      #expect(disk.pending.isEmpty)
      return found.all
    }
    #expect(counts == [1, 1, -1])
  }

  @Test func statusTellsHolesFromData() throws {
    try withDisk(SparseImage(length: 1 << 40)) { disk in
      try await disk.fill(1, sector: 2048)
      let hole = try await disk.status(ByteRange(0, 1 << 40))
      #expect(hole.isZero && !hole.isData && hole.count == 1 << 20)
      let data = try await disk.status(ByteRange(1 << 20, 1 << 40))
      #expect(data.isData && !data.isZero && data.count == SparseImage.blockSize)
    }
  }

  @Test func aDiskThatDoesNotForgetHasNothingToLose() throws {
    let world = World.simulated(seed: 1)
    let disk = SimulatedDisk(
      SparseImage(sectors: [1, 1, 1]), in: world,
      faults: FaultPlan([FaultPlan.Fault([.write], nth: 2, writtenBytes: 512)]), forgets: false)
    try world.runBlocking {
      try await disk.fill(2, sector: 0)
      await #expect(throws: BlockError.self) { try await disk.fill(3, sector: 1, sectors: 2) }
      try await disk.sync()
      #expect(disk.visibleImage.sectorValues == [2, 3, 1])
      #expect(disk.durableImage.sectorValues == [2, 3, 1])
      #expect(disk.crashStates(seed: 1).map(\.image.sectorValues) == [[2, 3, 1]])
      #expect(disk.pending.isEmpty)
    }
  }
}
