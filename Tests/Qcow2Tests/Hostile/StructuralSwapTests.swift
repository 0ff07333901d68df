import BlockLayer
import Primitives
import Qcow2
import Testing

/// Structures that point at each other, or at nothing, as QEMU's tests 060, 108, 138 and 305 do it.
///
/// `OverlapTests` has the cases whose message is fixed.
@Suite struct StructuralSwapTests {
  /// One swap, and what becomes of the image.
  struct Swap: Sendable, CustomTestStringConvertible {
    enum Fate: Sendable {
      /// Nobody opens it.
      case refused
      /// It can be read, and not opened to be written.
      case readOnly
      /// A check finds it wrong, and a write that meets it is an error.
      case corrupt
      /// A check finds it wrong; writes may go well.
      case found
      /// Space is lost, and no more.
      case leaky
    }
    let testDescription: String
    let fate: Fate
    let change: OverflowPointTests.Change

    init(_ name: String, _ fate: Fate, _ change: @escaping OverflowPointTests.Change) {
      testDescription = name
      self.fate = fate
      self.change = change
    }
  }

  static let tables: [Swap] = [
    Swap("the L1 table is the refcount table", .refused) {
      $0.set(UInt64($0.refcountTable), at: 40)
    },
    Swap("the L1 table is the header", .refused) { $0.set(UInt64(0), at: 40) },
    Swap("the refcount table is the header", .refused) { $0.set(UInt64(0), at: 48) },
    Swap("the refcount table has no clusters", .refused) { $0.set(UInt32(0), at: 56) },
    Swap("the L2 table is the L1 table", .corrupt) {
      $0.set(HostileImage.copied | UInt64($0.l1), at: $0.l1)
    },
    Swap("the L2 table is the refcount table", .corrupt) {
      $0.set(HostileImage.copied | UInt64($0.refcountTable), at: $0.l1)
    },
    Swap("the L1 entry has a flag and no table", .found) {
      $0.set(HostileImage.copied, at: $0.l1)
    },
    Swap("the refcount block is the refcount table", .corrupt) {
      $0.set(UInt64($0.refcountTable), at: $0.refcountTable)
    },
    Swap("the refcount block is data", .found) { $0.set($0.data(3), at: $0.refcountTable) },
    Swap("both L1 entries are one table", .found) {
      $0.set(UInt32(2), at: 36)
      $0.set($0.word(at: $0.l1), at: $0.l1 + 8)
    },
    Swap("the snapshot's L1 table is the active one", .found) { image in
      let place = image.bytes.count.roundedUp(to: 512)
      image.set(UInt64(image.l1), UInt32(1), UInt16(1), UInt16(1), at: place)
      image.set(UInt32(16), UInt64(0), UInt64(HostileImage.diskSize), at: place + 36)
      image.set(UInt32(0x3161_0000), at: place + 56)
      image.set(UInt32(1), UInt32(0), UInt32(place), at: 60)
    },
    Swap("dirty and corrupt", .readOnly) { $0.set(UInt64(3), at: 72) },
  ]

  static let refcounts: [Swap] = [
    Swap("the refcount table is zero", .corrupt) { $0.set(UInt64(0), at: $0.refcountTable) },
    Swap("a refcount block is no cluster", .corrupt) {
      $0.set(UInt64($0.refcountBlock + 256), at: $0.refcountTable)
    },
    Swap("a refcount block is far behind the file", .corrupt) {
      $0.set(UInt64(0x7000_0000_0000), at: $0.refcountTable)
    },
    Swap("all refcounts are zero", .corrupt) { image in
      for index in 0..<512 { image.bytes[image.refcountBlock + index] = 0 }
    },
    Swap("the header has refcount 0", .found) { $0.set(UInt16(0), at: $0.refcountBlock) },
    Swap("data has refcount 0", .found) {
      $0.set(UInt16(0), at: $0.refcountBlock + Int($0.data(0)) / 512 * 2)
    },
    Swap("everything is counted", .leaky) { image in
      for index in stride(from: 80, to: 512, by: 2) {
        image.set(UInt16(1), at: image.refcountBlock + index)
      }
    },
    Swap("the second refcount block is no cluster", .corrupt) { image in
      // The write finds the first one full, and needs two clusters.
      for index in stride(from: 0, to: 512, by: 2)
      where image.bytes[image.refcountBlock + index + 1]
        == 0
      {
        image.set(UInt16(1), at: image.refcountBlock + index)
      }
      image.set(UInt64(0x2_0100), at: image.refcountTable + 8)
    },
  ]

  static let mappings: [Swap] = [
    Swap("an entry at 32 PiB", .corrupt) {
      $0.set(HostileImage.copied | 0x0080_0000_0000_0000, at: $0.entry(0))
    },
    Swap("an entry far behind the file", .corrupt) {
      $0.set(HostileImage.copied | 0x70_0000_0000, at: $0.entry(0))
    },
    Swap("an entry that is the refcount block", .corrupt) {
      $0.set(HostileImage.copied | UInt64($0.refcountBlock), at: $0.entry(0))
    },
    Swap("an entry that is the header, reserved", .found) {
      $0.set(HostileImage.copied | 1, at: $0.entry(0))
    },
    Swap("two entries of one cluster", .found) {
      $0.set(HostileImage.copied | $0.data(0), at: $0.entry(1))
    },
    Swap("entries in a circle", .found) {
      let first = $0.word(at: $0.entry(0))
      $0.set($0.word(at: $0.entry(3)), at: $0.entry(0))
      $0.set(first & ~HostileImage.copied, at: $0.entry(3))
    },
    Swap("a discarded entry with a reserved bit", .found) {
      $0.set(HostileImage.copied | $0.data(12) | 0x100, at: $0.entry(12))
    },
    Swap("a compressed entry on metadata", .found) {
      $0.set(UInt64(1) << 62 | UInt64($0.refcountBlock), at: $0.entry(0))
    },
  ]

  @Test(arguments: tables + refcounts + mappings)
  func aSwapDoesNoHarmBeyondItself(swap: Swap) async throws {
    let image = try await HostileImage.make()
    let ordeal = try await Ordeal.endure(image.with(swap.change), "\(swap.testDescription)")
    switch swap.fate {
    case .refused: #expect(ordeal.readingError != nil)
    case .readOnly:
      #expect(ordeal.readingError == nil)
      #expect(ordeal.writingError != nil)
    case .corrupt:
      #expect((ordeal.check?.corruptions ?? 0) > 0, "\(ordeal.checkError as Any)")
      let error = ordeal.writingError ?? ordeal.requestError
      #expect(error != nil)
    case .found: #expect((ordeal.check?.corruptions ?? 0) > 0, "\(ordeal.checkError as Any)")
    case .leaky:
      #expect(ordeal.check?.corruptions == 0 && (ordeal.check?.leaks ?? 0) > 0)
      #expect(ordeal.requestError == nil)
    }
  }
}
