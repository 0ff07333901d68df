internal import BlockLayer

/// What lookups say of damaged mappings, in QEMU's words.
extension BlockError {
  static func misalignedTable(_ table: HostOffset, l1Index: Int) -> BlockError {
    .corruption("L2 table offset \(hex(table.value)) unaligned (L1 index: \(hex(l1Index)))")
  }

  static func misalignedCluster(_ host: HostOffset, _ cursor: EntryCursor) -> BlockError {
    .corruption("Cluster allocation offset \(hex(host.value)) unaligned \(place(cursor))")
  }

  static func zeroClusterInVersion2(_ cursor: EntryCursor) -> BlockError {
    .corruption("Zero cluster entry found in pre-v3 image \(place(cursor))")
  }

  static func compressedInDataFile(_ cursor: EntryCursor) -> BlockError {
    .corruption(
      "Compressed cluster entry found in image with external data file \(place(cursor))")
  }

  static func misplacedInDataFile(_ host: HostOffset, _ cursor: EntryCursor) -> BlockError {
    .corruption(
      "External data file host cluster offset \(hex(host.value)) does not match guest cluster "
        + "offset: \(hex(cursor.guest)), L2 index: \(hex(cursor.index))")
  }

  static func invalidEntry(_ cursor: EntryCursor) -> BlockError {
    .corruption("Invalid cluster entry found \(place(cursor))")
  }

  private static func place(_ cursor: EntryCursor) -> String {
    "(L2 offset: \(hex(cursor.slice.offset)), L2 index: \(hex(cursor.index)))"
  }

  private static func hex(_ value: Int) -> String { "0x" + String(value, radix: 16) }
}
