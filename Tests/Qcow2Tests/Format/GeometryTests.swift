import Primitives
import Qcow2
import Testing

@Suite struct GeometryTests {
  @Test func aGuestOffsetSplitsIntoItsIndices() {
    let offset = GuestOffset(0x1_2345_6789)
    let rows: [(Int, Bool, Int, Int, Int)] = [
      (9, false, 0x2468a, 0x33, 0x189),
      (12, false, 0x91a, 0x56, 0x789),
      (16, false, 9, 0x345, 0x6789),
      (16, true, 0x12, 0x345, 0x6789),
      (21, false, 0, 0x91a, 0x56789),
    ]
    for (bits, isExtended, l1, l2, inCluster) in rows {
      let geometry = Geometry(clusterBits: bits, hasExtendedL2: isExtended)
      let address = geometry.split(offset)
      #expect(address.l1Index == l1, "cluster_bits \(bits)")
      #expect(address.l2Index == l2, "cluster_bits \(bits)")
      #expect(address.offsetInCluster == inCluster, "cluster_bits \(bits)")
      let start = geometry.guestOffset(l1Index: l1, l2Index: l2)
      #expect(start == GuestOffset(offset.value - inCluster))
    }
  }

  @Test func anL1EntryMapsAClusterOfL2Entries() {
    let rows = [(9, 1 << 15), (12, 1 << 21), (16, 1 << 29), (21, 1 << 39)]
    for (bits, coverage) in rows {
      #expect(Geometry(clusterBits: bits).bytesPerL1Entry == coverage)
    }
    let extended = Geometry(clusterBits: 16, hasExtendedL2: true)
    #expect(extended.bytesPerL1Entry == 1 << 28)
    #expect(extended.l2EntriesPerTable == 4096)
    #expect(extended.subclusterIndex(GuestOffset(0x6789)) == 12)
  }

  @Test func theL1LimitBoundsTheVirtualSize() {
    let rows = [(9, 128 << 30), (12, 8 << 40), (16, 2 << 50), (21, 2 << 60)]
    for (bits, size) in rows {
      let geometry = Geometry(clusterBits: bits)
      #expect(geometry.maximumVirtualSize == size)
      #expect(geometry.l1EntryCount(forSize: size) == 4_194_304)
      #expect(geometry.l1EntryCount(forSize: size + 1) == 4_194_305)
      #expect(geometry.l1EntryCount(forSize: .max) > 4_194_304)
    }
  }

  @Test func aRefcountIsFoundByBlockAndIndex() {
    let small = Geometry(clusterBits: 9)
    #expect(small.bytesPerRefcountBlock == 128 << 10)
    #expect(small.maximumFileSize == 128 << 30)
    let wide = Geometry(clusterBits: 9, refcountOrder: 6)
    #expect(wide.bytesPerRefcountBlock == 32 << 10)
    #expect(wide.maximumFileSize == 32 << 30)
    let usual = Geometry(clusterBits: 16)
    #expect(usual.bytesPerRefcountBlock == 2 << 30)
    #expect(usual.tableEntriesPerCluster == 8192)
    let position = usual.refcountPosition(of: ClusterIndex(3 * 32768 + 17))
    #expect(position == (3, 17))
    #expect(usual.firstCluster(ofRefcountBlock: 3) == ClusterIndex(3 * 32768))
    #expect(Geometry(clusterBits: 21, refcountOrder: 0).maximumFileSize == 1 << 56)
  }

  @Test func theLargestRefcountFillsItsWidth() {
    let maxima: [UInt64] = [1, 3, 15, 255, 65535, 0xffff_ffff, .max]
    for (order, maximum) in maxima.enumerated() {
      let geometry = Geometry(clusterBits: 16, refcountOrder: order)
      #expect(geometry.maximumRefcount == maximum)
      #expect(geometry.entriesPerRefcountBlock == 524288 >> order)
    }
  }

  @Test func aRangeTouchesItsClusters() {
    let geometry = Geometry(clusterBits: 9)
    #expect(geometry.clusters(touchedBy: ByteRange(511, 1025)) == ClusterIndex(0)..<ClusterIndex(3))
    #expect(geometry.clusters(touchedBy: ByteRange(512, 1024)) == ClusterIndex(1)..<ClusterIndex(2))
    #expect(geometry.clusters(touchedBy: ByteRange(700, 700)).isEmpty)
    #expect(geometry.clusterCount(forBytes: 0) == 0)
    #expect(geometry.clusterCount(forBytes: 513) == 2)
  }

  @Test func offsetsBeyondTheLargestAreNil() {
    #expect(HostOffset(field: 1 << 63) == nil)
    #expect(HostOffset(field: (1 << 63) - 1)?.value == .max)
    #expect(HostOffset(.max).adding(1) == nil)
    #expect(HostOffset(5).adding(-6) == nil)
    #expect(GuestOffset(.max - 1).adding(1) == GuestOffset(.max))
    #expect(GuestOffset(.max).adding(1) == nil)
    let geometry = Geometry(clusterBits: 21)
    #expect(geometry.guestOffset(l1Index: 1 << 25, l2Index: 0) == nil)
  }

  @Test func aClusterKnowsItsOffset() {
    let geometry = Geometry(clusterBits: 16)
    #expect(geometry.offset(of: ClusterIndex(3)) == HostOffset(0x30000))
    #expect(geometry.cluster(containing: HostOffset(0x3ffff)) == ClusterIndex(3))
    #expect(HostOffset(0x3ffff).description == "0x3ffff")
  }
}
