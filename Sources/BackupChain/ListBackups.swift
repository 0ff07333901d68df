public import BlockLayer
public import DirtyBitmap
internal import Primitives

/// What a folder of backups has.
public struct ChainListing: Sendable {
  /// The manifest, put right by what the files say.
  public var manifest: Manifest
  /// The listed backups whose files are not there.
  public var missing: Set<Int>
  /// What was out of order.
  public var notes: [String]
}

/// Looking at chains.
extension BackupChain {
  /// Tells what backups there are, without opening their files.
  ///
  /// Throws `notFound` when the folder has no chain.
  public func list() async throws(BlockError) -> ChainListing {
    let state = try await loadExisting()
    return ChainListing(manifest: state.manifest, missing: state.missing, notes: state.notes)
  }

  /// What backup `number`'s file has itself, as a bitmap of 64 KiB granules.
  public func contents(of number: Int) async throws(BlockError) -> DirtyBitmap {
    try await withBackup(number, alone: true) { node throws(BlockError) in
      do {
        let bitmap = try DirtyBitmap(
          name: "backup \(number)", size: node.length, granularity: 65536)
        var position = 0
        while position < node.length {
          let rest = ByteRange(position, node.length)
          let status = try await node.chainStatus(rest, downTo: node)
          if status.status.isAllocated { bitmap.record(rest.prefix(status.count)) }
          position += status.count
        }
        return bitmap
      } catch let error as BitmapError {
        throw BlockError(.bitmap, error.message, cause: error)
      } catch let error as BlockError {
        throw error
      } catch {
        throw BlockError(.io, "\(error)", cause: error)
      }
    }
  }
}
