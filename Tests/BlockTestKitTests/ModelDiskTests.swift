import BlockTestKit
import Execution
import Primitives
import Testing

@Suite struct ModelDiskTests {
  private let whole = ByteRange(0, 1024)

  private func sectors(_ values: UInt8...) -> [UInt8] { SparseImage(sectors: values).bytes }

  private func write(
    _ value: UInt8, sector: Int, _ model: inout ModelDisk, succeeded: Bool = true
  ) {
    let range = ByteRange(offset: sector * Sector.size, count: Sector.size)
    let ticket = model.beginWrite(range, [UInt8](repeating: value, count: Sector.size))
    model.end(ticket, succeeded: succeeded)
  }

  private func flush(_ model: inout ModelDisk) { model.endFlush(model.beginFlush()) }

  @Test func aReadFindsWhatWasLastWritten() {
    var model = ModelDisk(length: 1024)
    write(1, sector: 0, &model)
    write(2, sector: 0, &model)
    #expect(model.verify(sectors(2, 0), at: whole) == nil)
    #expect(model.verify(sectors(1, 0), at: whole)?.offset == 0)
    #expect(model.verify(sectors(2, 9), at: whole)?.offset == 512)
    #expect(model.verify([2, 2, 0, 0, 0], at: ByteRange(510, 515)) == nil)
    #expect(model.verify([2, 2, 0, 7, 0], at: ByteRange(510, 515))?.offset == 513)
  }

  @Test func aCrashLeavesWhatWasFlushedOrSomethingNewer() {
    var model = ModelDisk(length: 1024)
    write(1, sector: 0, &model)
    flush(&model)
    write(2, sector: 0, &model)
    write(3, sector: 0, &model)
    for value in [1, 2, 3] as [UInt8] {
      #expect(model.verifyAfterCrash(sectors(value, 0), at: whole) == nil)
    }
    #expect(model.verifyAfterCrash(sectors(0, 0), at: whole)?.offset == 0)
    flush(&model)
    #expect(model.verifyAfterCrash(sectors(3, 0), at: whole) == nil)
    #expect(model.verifyAfterCrash(sectors(2, 0), at: whole)?.offset == 0)
  }

  @Test func aWriteUnderWayIsOldOrNewToAReaderAndNotCoveredByAFlushBegunMeanwhile() {
    var model = ModelDisk(length: 1024)
    let bytes = [UInt8](repeating: 5, count: 512)
    let ticket = model.beginWrite(ByteRange(0, 512), bytes)
    let flush = model.beginFlush()
    #expect(model.verify(sectors(0, 0), at: whole) == nil)
    #expect(model.verify(sectors(5, 0), at: whole) == nil)
    model.end(ticket)
    model.endFlush(flush)
    #expect(model.verify(sectors(0, 0), at: whole)?.offset == 0)
    #expect(model.verifyAfterCrash(sectors(0, 0), at: whole) == nil)
    #expect(model.verifyAfterCrash(sectors(5, 0), at: whole) == nil)
  }

  @Test func afterAFailedWriteOldAndNewAreRightEvenAfterAFlush() {
    var model = ModelDisk(length: 1024)
    write(1, sector: 1, &model)
    write(2, sector: 1, &model, succeeded: false)
    flush(&model)
    for value in [1, 2] as [UInt8] {
      #expect(model.verify(sectors(0, value), at: whole) == nil)
      #expect(model.verifyAfterCrash(sectors(0, value), at: whole) == nil)
    }
    #expect(model.verify(sectors(0, 0), at: whole)?.offset == 512)
    // A write of a part keeps the doubt about the rest.
    model.end(model.beginWrite(ByteRange(512, 514), [9, 9]))
    for value in [1, 2] as [UInt8] {
      var found = sectors(0, value)
      found[512] = 9
      found[513] = 9
      #expect(model.verify(found, at: whole) == nil)
    }
  }

  @Test func aFailedFlushPromisesNothing() {
    var model = ModelDisk(length: 1024)
    write(1, sector: 0, &model)
    model.endFlush(model.beginFlush(), succeeded: false)
    #expect(model.verifyAfterCrash(sectors(0, 0), at: whole) == nil)
  }

  @Test func aDiscardLeavesOldBytesOrZeros() {
    var model = ModelDisk(SparseImage(sectors: [1, 1]))
    model.end(model.beginDiscard(ByteRange(0, 1024)))
    flush(&model)
    #expect(model.verify(sectors(1, 0), at: whole) == nil)
    #expect(model.verify(sectors(2, 0), at: whole)?.offset == 0)
    model.end(model.beginWriteZeroes(ByteRange(0, 512)))
    #expect(model.verify(sectors(1, 0), at: whole)?.offset == 0)
  }

  @Test func aDifferenceIsToldInWords() {
    var model = ModelDisk(length: 1024)
    let range = ByteRange(512, 1024)
    model.end(model.begin(.write(range, number: 7)))
    let found = WritePattern.bytes(ByteRange(0, 512), write: 4)
    let difference = model.verify(found, at: range)
    #expect(
      difference?.description
        == "byte 0x202 (sector 1) is 0x4, the data of write 4 for sector 0; "
        + "expected write 7: 0x7, the data of write 7 for sector 1")
    let crash = model.verifyAfterCrash([UInt8](repeating: 0xaa, count: 512), at: range)
    #expect(
      crash?.description
        == "byte 0x200 (sector 1) is 0xaa, bytes of no test pattern; "
        + "expected what was flushed, or write 7")
  }

  /// The model and the simulated disk agree: every crash of a disk leaves what the model allows.
  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func theSimulatedDiskKeepsThePromisesOfTheModel(seed: UInt64) throws {
    let world = World.simulated(seed: seed)
    let length = 6 * Sector.size
    let disk = SimulatedDisk(SparseImage(length: length), in: world)
    var shape = OperationSequence.Shape(length: length, cluster: 1024)
    shape.maximumClusters = 1
    let operations = OperationSequence(
      count: 40, shape: shape, random: world.makeRandom("operations"))
    let all = ByteRange(0, length)
    try world.runBlocking {
      var model = ModelDisk(length: length)
      for operation in operations {
        let ticket = model.begin(operation)
        try await disk.perform(operation)
        if operation == .flush { model.endFlush(ticket) } else { model.end(ticket) }
        let visible = disk.visibleImage.bytes
        #expect(model.verify(visible, at: all) == nil, "seed \(seed), \(operation)")
        let states = disk.crashStates(.brief(maximum: 16), seed: seed)
        for state in states {
          let difference = model.verifyAfterCrash(state.image.bytes(all), at: all)
          #expect(difference == nil, "seed \(seed), \(operation), \(state)")
        }
      }
    }
  }
}

extension SimulatedDisk {
  /// Does what a guest asks, straight on the disk.
  func perform(_ operation: GuestOperation) async throws {
    switch operation {
    case .write(let range, let number):
      try await write(range, from: WritePattern.bytes(range, write: number).span.bytes)
    case .writeZeroes(let range, let mayUnmap): try await writeZeroes(range, mayUnmap: mayUnmap)
    case .discard(let range): try await discard(range)
    case .read(let range): _ = try await bytes(range)
    case .flush: try await sync()
    }
  }
}
