public import BlockLayer
internal import Primitives

extension GuestOperation {
  /// Whether it dirties a bitmap of a disk that does not ignore discards.
  public var isChange: Bool {
    switch self {
    case .write, .writeZeroes, .discard: !range.isEmpty
    case .read, .flush: false
    }
  }
}

extension BlockBackend {
  /// Does what `operation` says; the bytes of a read are thrown away.
  public func perform(_ operation: GuestOperation) async throws(BlockError) {
    switch operation {
    case .write(let range, let number):
      try await write(WritePattern.bytes(range, write: number), at: range.lower)
    case .writeZeroes(let range, let mayUnmap): try await writeZeroes(range, mayUnmap: mayUnmap)
    case .discard(let range): try await discard(range)
    case .read(let range): _ = try await read(at: range.lower, count: range.count)
    case .flush: try await flush()
    }
  }
}
