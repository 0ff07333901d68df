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
      switch choice % 10 {
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
      default: _ = try await door.read(at: range.lower, count: range.count)
      }
    } catch {
      // A write that fails leaves old or new.
      if choice % 10 < 6 { view.set(range, nil) }
    }
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
