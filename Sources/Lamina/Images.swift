public import BlockLayer
public import Qcow2
public import SystemPackage

extension BlockGraph {
  /// Makes a qcow2 image in a new host file, durably.
  ///
  /// A file that is there is refused, or replaced if `replacing`. An external data file, whose name
  /// is relative to the image's folder, is made too.
  public func createQcow2(
    at path: FilePath, _ options: NewImageOptions, replacing: Bool = false
  ) async throws(BlockError) {
    do { _ = try ImageLayout(options) } catch { throw BlockError(error) }
    let existing: FileDriver.Existing = replacing ? .replace : .refuse
    let file = try addNode(try FileDriver.create(path, existing: existing))
    var dataFile: BlockNode?
    do throws(BlockError) {
      if let name = options.dataFileName {
        let folder = path.removingLastComponent()
        let place = folder.pushing(FilePath(String(decoding: name.bytes, as: UTF8.self)))
        dataFile = try addNode(try FileDriver.create(place, existing: existing))
      }
      try await Qcow2Driver.create(options, in: file, dataFile: dataFile)
    } catch {
      if let dataFile { try? await close(dataFile) }
      try? await close(file)
      throw error.prefixed("Could not create '\(path)'")
    }
    if let dataFile { try await close(dataFile) }
    try await close(file)
  }

  /// Makes a qcow2 image of `size` bytes in a new host file.
  public func createQcow2(at path: String, size: Int) async throws(BlockError) {
    try await createQcow2(at: FilePath(path), NewImageOptions(virtualSize: size))
  }

  /// Opens an image and a door to it: what a program needs to read and write a disk.
  public func openDisk(
    _ path: String, format: String = "qcow2", readOnly: Bool = false, name: String? = nil
  ) async throws(BlockError) -> BlockBackend {
    let node = try await open(path, OpenOptions(format: format, readOnly: readOnly))
    do throws(BlockError) {
      return try BlockBackend(node, in: self, name: name)
    } catch {
      try? await close(node)
      throw error
    }
  }

  /// Closes the door and the disk behind it: bitmaps are stored, everything is durable.
  public func closeDisk(_ disk: BlockBackend) async throws(BlockError) {
    let node = disk.node
    await disk.close()
    try await close(node)
  }
}
