/// What a cluster that holds no guest data is used for.
///
/// Numbers 1 to 15: they have four bits in `ReferenceCounts` and `MetadataMap`.
enum MetadataOwner: UInt8, Hashable, Sendable {
  case header = 1
  case activeL1Table
  case inactiveL1Table
  case activeL2Table
  case inactiveL2Table
  case refcountTable
  case refcountBlock
  case snapshotTable
  case bitmapDirectory
  case bitmapTable
  case bitmapData
  case encryptionHeader

  /// What messages call it: QEMU's names of overlap classes, where it has one.
  var name: String {
    switch self {
    case .header: "qcow2_header"
    case .activeL1Table: "active L1 table"
    case .inactiveL1Table: "inactive L1 table"
    case .activeL2Table: "active L2 table"
    case .inactiveL2Table: "inactive L2 table"
    case .refcountTable: "refcount table"
    case .refcountBlock: "refcount block"
    case .snapshotTable: "snapshot table"
    case .bitmapDirectory: "bitmap directory"
    case .bitmapTable: "bitmap table"
    case .bitmapData: "bitmap data"
    case .encryptionHeader: "encryption header"
    }
  }
}
