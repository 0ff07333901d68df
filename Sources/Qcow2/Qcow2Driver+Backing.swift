public import BlockLayer
internal import Execution
internal import Synchronization

extension Qcow2Driver: BackingFileImage {
  /// The backing file as the header names it.
  public var recordedBacking: RecordedBacking? { tables.withLock { $0.header.recordedBacking } }

  /// Names another backing file in the header, or none.
  ///
  /// Throws `noSpace` when the name does not fit into the header's cluster, and `invalidArgument`
  /// where a raw data file shows all of the disk.
  public func recordBacking(_ backing: RecordedBacking?) async throws(BlockError) {
    try checkRecordable(backing)
    try await prepareHeader()
    try await commitLock.withLock { () async throws(BlockError) in
      try await rewriteHeader { $0.record(backing) }
    }
  }

  /// Throws when the image cannot have such a backing file.
  public func checkRecordable(_ backing: RecordedBacking?) throws(BlockError) {
    guard backing == nil || !isDataFileRaw else {
      throw BlockError(
        .invalidArgument, "Backing file and data-file-raw cannot be used at the same time")
    }
    var cluster = tables.withLock { $0.header }
    cluster.record(backing)
    do { _ = try cluster.serialize() } catch { throw BlockError(error) }
  }

  /// Throws where a raw data file would have to show what is below.
  public func checkEmptyable() throws(BlockError) {
    guard !isDataFileRaw else {
      throw BlockError(.unsupported, "an image with a raw data file cannot be emptied")
    }
  }
}

extension HeaderCluster {
  /// Names another backing file, or none.
  fileprivate mutating func record(_ backing: RecordedBacking?) {
    backingFileName = backing.map { EmbeddedName(bytes: Array($0.name.utf8)) }
    extensions.backingFormat = backing?.format.map { EmbeddedName(bytes: Array($0.utf8)) }
  }
}
