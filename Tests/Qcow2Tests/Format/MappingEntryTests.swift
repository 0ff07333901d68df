import Primitives
import Qcow2
import Testing

/// Entries of L1 and L2 tables.
@Suite struct MappingEntryTests {
  private let geometry = Geometry(clusterBits: 16)

  private func defects(_ raw: UInt64, _ version: FormatVersion = .v3) -> [L2EntryDefect] {
    L2Entry(rawValue: raw).defects(geometry: geometry, version: version)
  }

  private func kind(_ raw: UInt64) -> L2Entry.Kind {
    L2Entry(rawValue: raw).kind(clusterBits: 16)
  }

  @Test func anL1EntryPointsAtAnL2Table() {
    // `qemu-io -c 'write 0 64k'` on a new image.
    let entry = L1Entry(rawValue: 0x8000_0000_0004_0000)
    #expect(entry.l2Table == HostOffset(0x40000))
    #expect(entry.isCopied && !entry.hasReservedBits)
    #expect(entry == L1Entry(l2Table: HostOffset(0x40000), isCopied: true))
    // The same after `qemu-img snapshot -c`: shared now.
    let shared = L1Entry(l2Table: HostOffset(0x40000), isCopied: false)
    #expect(shared.rawValue == 0x40000)
    #expect(!shared.isCopied)
    #expect(L1Entry.none.l2Table == nil)
  }

  @Test func everyReservedBitOfAnL1EntryIsSeen() {
    for bit in 0..<64 as Range<UInt64> {
      let isReserved = bit < 9 || (56...62).contains(bit)
      #expect(L1Entry(rawValue: 1 << bit).hasReservedBits == isReserved, "bit \(bit)")
    }
    #expect(L1Entry(rawValue: .max).l2Table?.value == 0x00ff_ffff_ffff_fe00)
  }

  @Test func anL2EntrySaysWhatItsClusterIs() {
    // The first three: write 64k, zeroed in place, zeroed, written and zeroed with unmapping.
    #expect(kind(0x8000_0000_0005_0001) == .zeroAllocated(HostOffset(0x50000)))
    #expect(kind(1) == .zeroPlain)
    #expect(kind(0x8000_0000_0005_0000) == .normal(HostOffset(0x50000)))
    #expect(kind(0) == .unallocated)
    let descriptor = CompressedDescriptor(
      hostOffset: HostOffset(0x5445a), byteCount: 17830, clusterBits: 16)
    #expect(descriptor.map { .compressed($0) } == kind(0x4880_0000_0005_445a))
  }

  @Test func entriesAreWrittenAsTheyAreRead() {
    let offset = HostOffset(0x50000)
    #expect(L2Entry.normal(offset, isCopied: true).rawValue == 0x8000_0000_0005_0000)
    #expect(L2Entry.normal(offset, isCopied: false).rawValue == 0x50000)
    #expect(L2Entry.zeroAllocated(offset, isCopied: true).rawValue == 0x8000_0000_0005_0001)
    #expect(L2Entry.zeroPlain.rawValue == 1)
    #expect(L2Entry.unallocated.rawValue == 0)
    #expect(L2Entry.normal(offset, isCopied: true).copied(false).rawValue == 0x50000)
    #expect(L2Entry(rawValue: 0x50001).copied(true).rawValue == 0x8000_0000_0005_0001)
  }

  @Test func reservedBitsAreIgnoredByReadersAndReported() {
    for bit in 0..<64 as Range<UInt64> {
      let raw: UInt64 = 0x50000 | (1 << bit)
      let isReserved = (1...8).contains(bit) || (56...61).contains(bit)
      #expect(defects(raw).contains(.reservedBits) == isReserved, "bit \(bit)")
      if isReserved { #expect(kind(raw) == .normal(HostOffset(0x50000)), "bit \(bit)") }
    }
  }

  @Test func aMisalignedOffsetIsAValueNotATrap() {
    #expect(kind(0x50200) == .normal(HostOffset(0x50200)))
    #expect(defects(0x50200) == [.misaligned(HostOffset(0x50200))])
    #expect(defects(0x50201) == [.misaligned(HostOffset(0x50200))])
    #expect(defects(0x50000) == [])
    let small = Geometry(clusterBits: 9)
    #expect(L2Entry(rawValue: 0x50200).defects(geometry: small, version: .v3) == [])
  }

  @Test func theZeroFlagIsAVersion3Thing() {
    #expect(defects(1, .v2) == [.zeroFlagInVersion2])
    #expect(defects(0x50001, .v2) == [.zeroFlagInVersion2])
    #expect(defects(1, .v3) == [])
  }

  @Test func theCopiedFlagNeedsACluster() {
    #expect(kind(1 << 63) == .unallocated)
    #expect(defects(1 << 63) == [.copiedWithoutOffset])
    #expect(defects(1 << 63 | 1) == [.copiedWithoutOffset])
    #expect(defects(0xc880_0000_0005_445a) == [.copiedCompressed])
    #expect(defects(0x4880_0000_0005_445a) == [])
  }

  @Test func subclustersAreReadFromBothHalvesOfTheBitmap() {
    // `extended_l2=on`, write 2k@0, 1k@5k, zero 4k@8k: alloc 0 and 2, zero 4 and 5.
    let entry = ExtendedL2Entry(
      entry: L2Entry(rawValue: 0x8000_0000_0005_0000), bitmap: 0x0000_0030_0000_0005)
    let kinds = (0..<7).map { entry.subcluster($0) }
    #expect(
      kinds == [.normal, .unallocated, .normal, .unallocated, .zero, .zero, .unallocated])
    let plain = ExtendedL2Entry(entry: .unallocated, bitmap: 0xffff_ffff_0000_0000)
    #expect((0..<32).allSatisfy { plain.subcluster($0) == .zero })
  }

  @Test func impossibleSubclustersAreInvalid() {
    let both = ExtendedL2Entry(entry: L2Entry(rawValue: 0x50000), bitmap: 0x0000_0001_0000_0001)
    #expect(both.subcluster(0) == .invalid)
    let nowhere = ExtendedL2Entry(entry: .unallocated, bitmap: 1)
    #expect(nowhere.subcluster(0) == .invalid)
    let compressed = ExtendedL2Entry(entry: L2Entry(rawValue: 1 << 62), bitmap: .max)
    #expect(compressed.subcluster(31) == .compressed)
  }
}
