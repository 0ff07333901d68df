import Primitives
import Qcow2
import Testing

/// New images whose clusters are mapped from the beginning.
@Suite struct PreallocatedLayoutTests {
  private func options(
    _ size: Int, _ change: (inout NewImageOptions) -> Void = { _ in }
  ) -> NewImageOptions {
    var options = NewImageOptions(virtualSize: size)
    options.preallocation = .metadata
    change(&options)
    return options
  }

  /// The piece of `layout` at `offset`.
  private func piece(_ layout: ImageLayout, at offset: Int) throws -> ImageLayout.Piece {
    try #require(layout.pieces.first { $0.range.lower == offset })
  }

  /// The first words of a piece.
  private func words(_ piece: ImageLayout.Piece, _ count: Int) -> [UInt64] {
    let bytes = piece.bytes(ByteRange(offset: piece.range.lower, count: count * 8))
    return (0..<count).map { bytes.span.bytes.bigEndian(UInt64.self, at: $0 * 8) }
  }

  @Test func entriesPointAtConsecutiveClustersAsQEMUs() throws {
    // Golden fact G20.
    let layout = try ImageLayout(options(16 << 20))
    #expect(layout.fileByteCount == 17_104_896)
    #expect(words(try piece(layout, at: 0x30000), 1) == [0x8000_0000_0004_0000])
    let l2 = words(try piece(layout, at: 0x40000), 257)
    #expect(l2[0] == 0x8000_0000_0005_0000 && l2[1] == 0x8000_0000_0006_0000)
    #expect(l2[255] == 0x8000_0000_0104_0000 && l2[256] == 0)
    let refcounts = try piece(layout, at: 0x20000)
    #expect(refcounts.content == .refcounts(order: 4, count: 261))
    let counted = refcounts.bytes(ByteRange(offset: 0x20000, count: 65536))
    #expect(
      counted.prefix(522) == hex("0001*261")[...] && counted.dropFirst(522).allSatisfy { $0 == 0 })
    // `qemu-img create -o preallocation=metadata` of these sizes.
    #expect(try ImageLayout(options(100_352)).fileByteCount == 458_752)
    #expect(try ImageLayout(options(600 << 20)).fileByteCount == 629_538_816)
  }

  @Test func aRawDataFileIsMappedWhereTheGuestSeesIt() throws {
    // Golden facts G13 and G14.
    for isRaw in [false, true] {
      let layout = try ImageLayout(
        options(1 << 20) {
          $0.preallocation = .off
          $0.dataFileName = "d.data"
          $0.isDataFileRaw = isRaw
        })
      let header = try piece(layout, at: 0).bytes(ByteRange(0, 128))
      #expect(Array(header[0x48..<0x50]) == hex("00000000 00000004"))
      #expect(Array(header[0x58..<0x60]) == hex(isRaw ? "00000000 00000002" : "00*8"))
      #expect(Array(header[0x70..<0x80]) == hex("44415441 00000006 642e6461 74610000"))
      #expect(layout.fileByteCount == (isRaw ? 327_680 : 196_616))
      guard isRaw else { continue }
      let entries = words(try piece(layout, at: 0x40000), 17)
      #expect(entries == (0..<16).map { 0x8000_0000_0000_0000 + $0 << 16 } + [0])
      #expect(try piece(layout, at: 0x20000).content == .refcounts(order: 4, count: 5))
    }
  }

  @Test func subclustersAreReservedAndNotAllocated() throws {
    let layout = try ImageLayout(
      options(1 << 20) {
        $0.hasExtendedL2 = true
        $0.backingFileName = "base"
        $0.backingFormat = "raw"
      })
    let entries = words(try piece(layout, at: 0x40000), 34)
    #expect(entries[0..<4] == [0x8000_0000_0005_0000, 0, 0x8000_0000_0006_0000, 0])
    #expect(entries[30..<34] == [0x8000_0000_0014_0000, 0, 0, 0])
    #expect(layout.fileByteCount == 0x150000)
  }

  @Test(arguments: [(512, 1), (512, 64), (4096, 16), (65536, 2)])
  func aPieceInPartsIsThePieceAsAWhole(clusterSize: Int, refcountBits: Int) throws {
    let layout = try ImageLayout(
      options(3 << 20) {
        $0.clusterSize = clusterSize
        $0.refcountBits = refcountBits
      })
    for piece in layout.pieces where piece.content != .space {
      var parts: [UInt8] = []
      var rest = piece.range
      while !rest.isEmpty {
        let part = rest.prefix(496)
        parts += piece.bytes(part)
        rest = rest.dropFirst(part.count)
      }
      #expect(parts == piece.bytes(piece.range), "\(piece.range)")
    }
  }

  @Test func hugeImagesAreLaidOutWithoutTheirTables() throws {
    let layout = try ImageLayout(options(1 << 50))
    #expect(layout.headerCluster.header.l1EntryCount == 2 << 20)
    let tables = try #require(layout.pieces.first { $0.range.count == 1 << 37 })
    let last = tables.bytes(ByteRange(tables.range.upper - 16, tables.range.upper))
    let place = last.span.bytes.bigEndian(UInt64.self, at: 8) & 0x00ff_ffff_ffff_ffff
    #expect(Int(place) == layout.fileByteCount - 65536)
  }

  @Test func whatRefcountsCannotCountIsRefused() throws {
    // 8 MiB of refcount table count 64 GiB in clusters of 512 bytes with 64-bit refcounts.
    let error = #expect(throws: Qcow2FormatError.self) {
      try ImageLayout(
        options(100 << 30) {
          $0.clusterSize = 512
          $0.refcountBits = 64
        })
    }
    #expect(error?.code == .tooLarge)
  }
}
