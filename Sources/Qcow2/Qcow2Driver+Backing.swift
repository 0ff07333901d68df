public import BlockLayer
internal import Execution
internal import Synchronization

extension Qcow2Driver: BackingFileImage {
  /// The backing file as the header names it.
  public var recordedBacking: RecordedBacking? { tables.withLock { $0.header.recordedBacking } }

  /// Names another backing file in the header, or none.
  ///
  /// Throws `noSpace` when the name does not fit into the header's cluster.
  public func recordBacking(_ backing: RecordedBacking?) async throws(BlockError) {
    try await prepareHeader()
    let name = backing.map { EmbeddedName(bytes: Array($0.name.utf8)) }
    let format = backing?.format.map { EmbeddedName(bytes: Array($0.utf8)) }
    try await commitLock.withLock { () async throws(BlockError) in
      try await rewriteHeader { cluster in
        cluster.backingFileName = name
        cluster.extensions.backingFormat = format
      }
    }
  }
}
