import BlockLayer
import Primitives
import Qcow2

/// What a guest does, as the fuzzer's bytes say.
struct GuestScript {
  private var reader: InputReader
  private let opened: Opened
  /// What the guest must see.
  private(set) var view: GuestView

  init(_ reader: InputReader, on opened: Opened, seeing view: GuestView) {
    self.reader = reader
    self.opened = opened
    self.view = view
  }

  /// Runs to the end of the bytes, at most some dozens of steps.
  mutating func run() async {
    var steps = 0
    while !reader.isAtEnd, steps < 32 {
      await step()
      steps += 1
    }
  }

  private mutating func step() async {
    let choice = reader.byte()
    guard let range = nextRange() else { return }
    let door = opened.door
    do throws(BlockError) {
      switch choice % 14 {
      case 0, 1, 2:
        let byte = reader.byte()
        try await door.fill(byte, at: range.lower, count: range.count)
        view.set(range, byte)
      case 3, 4:
        try await door.writeZeroes(range, mayUnmap: choice & 0x80 != 0)
        view.set(range, 0)
      case 5:
        view.set(range, nil)  // a discard promises nothing
        try await door.discard(range)
      case 6: try await door.flush()
      case 7: _ = try await opened.node.chainStatus(range)
      case 8 where choice & 0x80 != 0:
        let length = door.length + range.count
        if length <= 2 * SmallImage.diskSize { try await door.resize(to: length) }
      case 9 where choice & 0x80 != 0:
        view.forget(from: range.lower)
        try await door.resize(to: range.upper, mayShrink: true)
      case 10: try await opened.graph.createSnapshot(named: "\(choice)", of: opened.node)
      case 11:
        try await opened.graph.deleteSnapshot(try await anySnapshot(choice), of: opened.node)
      case 12:
        view.forget(from: 0)
        try await opened.graph.applySnapshot(try await anySnapshot(choice), to: opened.node)
      case 13: try await writeCompressed(range, reader.byte())
      default: _ = try await door.read(at: range.lower, count: range.count)
      }
    } catch {
      // A write that fails leaves old or new.
      if choice % 14 < 6 { view.set(range, nil) }
    }
  }

  private func anySnapshot(_ choice: UInt8) async throws(BlockError) -> SnapshotReference {
    let all = try await opened.graph.snapshots(of: opened.node)
    guard let snapshot = all.isEmpty ? nil : all[Int(choice >> 4) % all.count] else {
      throw BlockError(.notFound, "no snapshots")
    }
    return .id(snapshot.id)
  }

  /// Fills the whole clusters around `range`, which compress well.
  private mutating func writeCompressed(_ range: ByteRange, _ byte: UInt8) async throws(BlockError)
  {
    let size = opened.node.driver.limits.clusterSize
    let whole = range.roundedOut(to: max(size, 512))
    guard whole.upper <= opened.door.length, whole.count <= 1 << 16 else { return }
    view.set(whole, nil)
    let bytes = [UInt8](repeating: byte, count: whole.count)
    try await opened.node.writeCompressed(whole, from: bytes.span.bytes)
    view.set(whole, byte)
  }

  private mutating func nextRange() -> ByteRange? {
    let size = min(opened.door.length, 2 * SmallImage.diskSize) / GuestView.sectorSize
    guard size > 0 else { return nil }
    let first = reader.index(below: size)
    let count = min(1 + Int(reader.byte()) % 24, size - first)
    // Now and then near the end of a disk that is larger than it should be.
    let shift = first & 1 == 1 && opened.door.length > 1 << 20 ? opened.door.length - size * 512 : 0
    return ByteRange(offset: shift + first * 512, count: count * 512)
  }
}
