import BlockLayer
import Qcow2
import Testing

/// Refcounts against references, and the structure that holds them.
///
/// The texts are those that qemu-img 7.2.22 printed for the same damage.
@Suite struct CheckRefcountTests {
  @Test(arguments: [1, 2, 4, 8, 16, 32, 64])
  func aSoundImageIsCleanAndItsClustersAreCounted(refcountBits: Int) async throws {
    let result = try await check(refcountBits: refcountBits) { _ in }
    #expect(result.isClean, "\(result.messages)")
    #expect(result.totalClusters == 256)
    #expect(result.allocatedClusters == 16)
    #expect(result.fragmentedClusters == 0)
    #expect(result.compressedClusters == 0)
    #expect(result.imageEndOffset == 21 * 4096)
  }

  @Test func aRefcountAboveTheReferencesIsALeak() async throws {
    let result = try await check { image in
      _ = try await image.append([UInt64]())
      try await image.setRefcount(2, of: 21)
    }
    #expect(result.messages == ["Leaked cluster 21 refcount=2 reference=0"])
    #expect(result.leaks == 1)
    #expect(result.corruptions == 0)
    #expect(result.imageEndOffset == 22 * 4096)
    #expect(result.isComplete)
  }

  @Test func aRefcountOfZeroUnderReferencesIsACorruption() async throws {
    let result = try await check { image in
      try await image.setRefcount(0, ofOffset: image.l1)
    }
    #expect(result.messages == ["ERROR cluster 3 refcount=0 reference=1"])
    #expect(result.corruptions == 1)
  }

  @Test func aClusterReferredToTwiceNeedsARefcountOfTwo() async throws {
    let result = try await check { image in
      // A second name for the snapshot-less L2 table: two L1 entries.
      try await image.write(UInt32(2), at: 36)
      try await image.write([image.word(at: image.l1)], at: image.l1 + 8)
    }
    let text = "ERROR cluster 4 refcount=1 reference=2"
    #expect(result.messages.contains(text), "\(result.messages)")
    #expect(result.messages.contains { $0.hasSuffix("Table is named by 2 L1 entries") })
    #expect(result.allocatedClusters == 32)
  }

  @Test func countsBeyondWhatAnEntryHoldsAreKept() async throws {
    let result = try await check(refcountBits: 32) { image in
      let count = 3000
      let entry = try await image.word(at: image.l1)
      let end = image.file.length
      try await image.write([UInt64](repeating: entry, count: count), at: end)
      try await image.write(UInt32(count), at: 36)
      try await image.write([UInt64(end)], at: 40)
      try await image.setRefcount(UInt64(count) + 1, ofOffset: image.l2)
    }
    #expect(
      result.messages.contains("Leaked cluster 4 refcount=3001 reference=3000"),
      "\(result.messages.prefix(9))")
  }

  @Test func aReferenceMoreThanTheWidthCanCountIsAnOverflow() async throws {
    let result = try await check(refcountBits: 1) { image in
      try await image.setEntry(0, DamagedImage.copied | UInt64(image.data(1)))
    }
    let second = 6 * 4096
    #expect(
      result.messages.first == "ERROR: overflow cluster offset=0x\(String(second, radix: 16))")
    #expect(result.messages.contains("Leaked cluster 5 refcount=1 reference=0"))
  }

  @Test func hugeRefcountsAreNotTakenForNegativeOnes() async throws {
    let result = try await check(refcountBits: 64) { image in
      try await image.setRefcount(.max, of: 20)
    }
    #expect(
      result.messages == [
        "Leaked cluster 20 refcount=18446744073709551615 reference=1"
      ])
  }

  @Test func countedClustersBehindTheFileAreLeaks() async throws {
    let result = try await check { image in
      try await image.setRefcount(1, of: 21)
      try await image.setRefcount(7, of: 1000)
    }
    #expect(
      result.messages == ["Leaked clusters behind the end of the file: 2, from 21 to 1000"])
    #expect(result.leaks == 2)
    #expect(result.imageEndOffset == 21 * 4096)
  }

  // MARK: - Copied flags

  @Test func aCopiedFlagMustAgreeWithTheRefcount() async throws {
    let result = try await check { image in
      try await image.setEntry(0, UInt64(image.data(0)))
      try await image.setEntry(3, DamagedImage.copied | UInt64(image.data(4)))
      try await image.setRefcount(2, ofOffset: image.data(4))
    }
    let shared = "ERROR OFLAG_COPIED data cluster: l2_entry=8000000000009000 refcount=2"
    #expect(
      result.messages.filter { $0.contains("OFLAG") } == [
        "ERROR OFLAG_COPIED data cluster: l2_entry=5000 refcount=1", shared, shared,
      ])
    #expect(result.corruptions == 3)
    #expect(result.leaks == 1)
  }

  @Test func aCopiedFlagIsTheTruthWhereOneReferenceIsCountedTooHigh() async throws {
    let result = try await check { image in
      try await image.setRefcount(2, ofOffset: image.data(1))
      try await image.setRefcount(9, ofOffset: image.data(2))
      try await image.setEntry(2, UInt64(image.data(2)))
      try await image.setRefcount(2, ofOffset: image.l2)
    }
    #expect(result.corruptions == 0 && result.leaks == 3, "\(result.messages)")
  }

  // MARK: - Table and blocks

  @Test func aMissingBlockCountsNothing() async throws {
    let result = try await check { image in try await image.write([0], at: image.refcountTable) }
    #expect(result.corruptions == 37)
    #expect(result.leaks == 0)
    #expect(result.imageEndOffset == 21 * 4096)
  }

  @Test func reservedBitsOfTheRefcountTableAreFound() async throws {
    let result = try await check { image in
      try await image.write([UInt64(image.refcountBlock | 1)], at: image.refcountTable)
    }
    #expect(
      result.messages == [
        "ERROR refcount table entry 0 has reserved bits set",
        "Leaked cluster 2 refcount=1 reference=0",
      ])
  }

  @Test func aMisalignedBlockLeavesItsClustersUnchecked() async throws {
    let result = try await check { image in
      try await image.write([UInt64(image.refcountBlock | 512)], at: image.refcountTable)
    }
    #expect(result.corruptions == 1)
    #expect(
      result.messages.first
        == "ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted")
    #expect(result.checkErrors == 21)
    #expect(!result.isComplete)
  }

  @Test func aBlockOutsideOfTheFileIsFound() async throws {
    let result = try await check { image in
      try await image.write([0x100_0000], at: image.refcountTable + 8)
    }
    #expect(result.messages == ["ERROR refcount block 1 is outside image"])
  }

  @Test func aBlockBeyondAllOffsetsLeavesItsClustersUnchecked() async throws {
    let result = try await check { image in
      try await image.write([UInt64(image.refcountBlock) | 1 << 63], at: image.refcountTable)
    }
    #expect(result.messages.first == "ERROR refcount block 0 is outside image")
    #expect(result.checkErrors == 21)
  }

  @Test func aBlockNamedTwiceIsFound() async throws {
    let result = try await check { image in
      try await image.write([UInt64(image.refcountBlock)], at: image.refcountTable + 8)
    }
    #expect(
      result.messages == [
        "ERROR refcount block 1 refcount=2", "ERROR cluster 2 refcount=1 reference=2",
      ])
  }

  @Test func aTableWithoutClustersCountsNothing() async throws {
    let result = try await check { image in try await image.write(UInt32(0), at: 56) }
    #expect(result.corruptions == 36)
  }
}
