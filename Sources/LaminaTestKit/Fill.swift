/// A run of one byte that a guest writes, as `write -P` of qemu-io does.
public struct Fill: Hashable, Sendable {
  /// The byte.
  public var byte: UInt8
  /// The guest offset in bytes.
  public var offset: Int
  /// The length in bytes.
  public var count: Int

  /// Makes a fill.
  public init(_ byte: UInt8, at offset: Int, count: Int) {
    self.byte = byte
    self.offset = offset
    self.count = count
  }

  /// What a disk of at least 33 MiB holds before its first backup: three runs, at the begin, at
  /// 1 MiB and at 32 MiB.
  public static let initial = [
    Fill(0x41, at: 0, count: 512), Fill(0xd5, at: 1 << 20, count: 32 << 10),
    Fill(0xdc, at: 32 << 20, count: 124 << 10),
  ]

  /// Changes after the first backup: an overwrite, a new run, and a partial overlap.
  ///
  /// They dirty 7 granules of 64 KiB: 458752 bytes.
  public static let firstRound = [
    Fill(0xab, at: 0, count: 512), Fill(0xfe, at: 16 << 20, count: 256 << 10),
    Fill(0x64, at: 32736 << 10, count: 64 << 10),
  ]

  /// Changes after the second: again one of each kind.
  ///
  /// They dirty 23 granules of 64 KiB: 1507328 bytes.
  public static let secondRound = [
    Fill(0x9a, at: 0, count: 512), Fill(0x55, at: 8 << 20, count: 352 << 10),
    Fill(0x78, at: 15872 << 10, count: 1 << 20),
  ]
}

extension [Fill] {
  /// The same runs with other bytes, in order: what tells a second disk from the first.
  public func with(bytes: UInt8...) -> [Fill] {
    zip(self, bytes).map { Fill($1, at: $0.offset, count: $0.count) }
  }
}
