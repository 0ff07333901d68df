public import Primitives

/// What a guest asks of its disk.
public enum GuestOperation: Sendable, Hashable {
  /// Writes the bytes of `WritePattern` for that number.
  case write(ByteRange, number: Int)
  /// Writes zeros.
  case writeZeroes(ByteRange, mayUnmap: Bool)
  /// Discards.
  case discard(ByteRange)
  /// Reads.
  case read(ByteRange)
  /// Flushes.
  case flush

  /// The bytes that it touches; none for a flush.
  public var range: ByteRange {
    switch self {
    case .write(let range, _), .writeZeroes(let range, _), .discard(let range), .read(let range):
      range
    case .flush: ByteRange(0, 0)
    }
  }
}

extension GuestOperation: CustomStringConvertible {
  /// The operation in words: `write 7 0x400..<0x600`.
  public var description: String {
    switch self {
    case .write(let range, let number): "write \(number) \(range)"
    case .writeZeroes(let range, let mayUnmap): "zeroes \(range)" + (mayUnmap ? " unmapping" : "")
    case .discard(let range): "discard \(range)"
    case .read(let range): "read \(range)"
    case .flush: "flush"
    }
  }
}

extension ModelDisk {
  /// The guest asks for `operation`.
  ///
  /// A read changes nothing; for a flush use `beginFlush()`, as its end differs.
  public mutating func begin(_ operation: GuestOperation) -> Ticket {
    switch operation {
    case .write(let range, let number):
      beginWrite(range, WritePattern.bytes(range, write: number), number: number)
    case .writeZeroes(let range, _): beginWriteZeroes(range)
    case .discard(let range): beginDiscard(range)
    case .read, .flush: beginFlush()
    }
  }
}
