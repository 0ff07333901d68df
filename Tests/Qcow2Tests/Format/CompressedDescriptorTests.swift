import Primitives
import Qcow2
import Testing

@Suite struct CompressedDescriptorTests {
  private func descriptor(_ raw: UInt64, clusterBits: Int) throws -> CompressedDescriptor {
    guard case .compressed(let found) = L2Entry(rawValue: raw).kind(clusterBits: clusterBits)
    else {
      throw Qcow2FormatError(.unsupported, "the entry is not of a compressed cluster")
    }
    return found
  }

  /// Entries of images that `qemu-img convert -c` made: cluster_bits, entry, offset, additional
  /// sectors, readable bytes.
  static let worked: [(Int, UInt64, Int, Int, Int)] = [
    (9, 0x4000_0000_0000_0a00, 0xa00, 0, 512),
    (9, 0x6000_0000_0000_0bbf, 0xbbf, 1, 577),
    (10, 0x5000_0000_0000_1521, 0x1521, 1, 735),
    (12, 0x4800_0000_0000_5477, 0x5477, 2, 1417),
    (16, 0x4880_0000_0005_445a, 0x5445a, 34, 17830),
    (20, 0x4888_0000_0054_442c, 0x54442c, 546, 280020),
    (21, 0x4888_0000_00a0_0000, 0xa00000, 1092, 559616),
    // `qemu-img convert -c` of the first 400,000 bytes of an executable.
    (10, 0x6000_0000_0000_155d, 0x155d, 2, 1187),
    (12, 0x5400_0000_0000_5000, 0x5000, 5, 3072),
    (16, 0x4b00_0000_0005_881a, 0x5881a, 44, 23014),
  ]

  @Test func workedExamplesDecodeAndEncode() throws {
    for (bits, raw, offset, sectors, byteCount) in Self.worked {
      let found = try descriptor(raw, clusterBits: bits)
      #expect(found.hostOffset == HostOffset(offset), "cluster_bits \(bits)")
      #expect(found.additionalSectors == sectors, "cluster_bits \(bits)")
      #expect(found.readableRange.count == byteCount, "cluster_bits \(bits)")
      #expect(L2Entry.compressed(found).rawValue == raw, "cluster_bits \(bits)")
      let made = CompressedDescriptor(
        hostOffset: HostOffset(offset), byteCount: byteCount, clusterBits: bits)
      #expect(made == found, "cluster_bits \(bits)")
    }
  }

  @Test func aDescriptorRefersToEveryClusterThatItsSectorsTouch() throws {
    let first = try #require(
      CompressedDescriptor(hostOffset: HostOffset(0x5fe00), byteCount: 700, clusterBits: 16))
    #expect(first.additionalSectors == 1)
    #expect(first.touchedClusters == ClusterIndex(5)..<ClusterIndex(7))
    let second = try #require(
      CompressedDescriptor(hostOffset: HostOffset(0x600bc), byteCount: 300, clusterBits: 16))
    #expect(second.additionalSectors == 0)
    #expect(second.touchedClusters == ClusterIndex(6)..<ClusterIndex(7))
  }

  @Test func aDescriptorMayTouchThreeClusters() throws {
    // 512-byte clusters: two sectors from a byte before a border span two; four of 1 KiB three.
    let raw: UInt64 = 1 << 62 | 3 << 60 | 0x7ff
    let found = try descriptor(raw, clusterBits: 10)
    #expect(found.sectorRange == ByteRange(0x600, 0xe00))
    #expect(found.touchedClusters == ClusterIndex(1)..<ClusterIndex(4))
    #expect(found.readableRange.count == 2048 - 511)
  }

  @Test func widthsFollowTheClusterSize() throws {
    for bits in 9...21 {
      let all = try descriptor(0x7fff_ffff_ffff_ffff, clusterBits: bits)
      #expect(all.additionalSectors == 1 << (bits - 8) - 1, "cluster_bits \(bits)")
      #expect(all.hostOffset.value == 1 << (70 - bits) - 1, "cluster_bits \(bits)")
      #expect(all.sectorRange.count == 2 << bits, "cluster_bits \(bits)")
    }
  }

  @Test func theLargestOffsetIsWithinTheFieldAndThe56Bits() {
    let limits = [9: 56, 13: 56, 14: 56, 15: 55, 16: 54, 20: 50, 21: 49]
    for (bits, exponent) in limits {
      let limit = 1 << exponent
      #expect(CompressedDescriptor.offsetLimit(clusterBits: bits) == limit)
      func make(_ offset: Int) -> CompressedDescriptor? {
        CompressedDescriptor(hostOffset: HostOffset(offset), byteCount: 100, clusterBits: bits)
      }
      #expect(make(limit - 100) != nil, "cluster_bits \(bits)")
      #expect(make(limit - 99) == nil, "cluster_bits \(bits)")
      #expect(make(.max) == nil)
      #expect(make(0) == nil, "the header is there")
    }
  }

  @Test func dataLongerThanTheCountCanSayIsRefused() {
    func make(_ byteCount: Int) -> CompressedDescriptor? {
      CompressedDescriptor(hostOffset: HostOffset(0x50001), byteCount: byteCount, clusterBits: 16)
    }
    #expect(make(131071) != nil)
    #expect(make(131072) == nil)
    #expect(make(.max) == nil)
  }

  @Test func anOffsetBeyond56BitsIsADefect() {
    let raw: UInt64 = 1 << 62 | 1 << 58
    let geometry = Geometry(clusterBits: 9)
    #expect(
      L2Entry(rawValue: raw).defects(geometry: geometry, version: .v3)
        == [.compressedBeyondLimit(HostOffset(1 << 58))])
  }
}
