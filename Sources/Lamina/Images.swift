public import BlockLayer
public import Qcow2
public import SystemPackage

extension BlockGraph {
  /// Makes a qcow2 image in a new host file, durably.
  ///
  /// A file that is there is refused, or replaced if `replacing`, but never one that a node of this
  /// graph uses or that the image names as its backing file. An external data file, whose name is
  /// relative to the image's folder, is made too. After a failure what is new is gone again.
  public func createQcow2(
    at path: FilePath, _ options: NewImageOptions, replacing: Bool = false
  ) async throws(BlockError) {
    do { _ = try ImageLayout(options) } catch { throw BlockError(error) }
    let places = try Self.places(of: options, path)
    let files = try await newHostFiles(places, replacing: replacing)
    do throws(BlockError) {
      try await files.fill { () throws(BlockError) in
        let dataFile = files.nodes.count > 1 ? files.nodes[1] : nil
        try await Qcow2Driver.create(options, in: files.nodes[0], dataFile: dataFile)
      }
    } catch {
      throw error.prefixed("Could not create '\(path)'")
    }
  }

  /// The image's file and its data file, if there is one; throws where two of them and the backing
  /// file are one.
  private static func places(
    of options: NewImageOptions, _ path: FilePath
  ) throws(BlockError) -> [FilePath] {
    let folder = path.removingLastComponent()
    func place(_ name: EmbeddedName?) -> FilePath? {
      name.map { folder.pushing(FilePath(String(decoding: $0.bytes, as: UTF8.self))) }
    }
    func refuse(_ other: String) -> BlockError {
      BlockError(
        .invalidArgument,
        "Error: Trying to create an image with the same filename as the \(other) file")
    }
    var places = [path]
    if let dataFile = place(options.dataFileName) {
      guard !dataFile.isSameFile(as: path) else { throw refuse("data") }
      places.append(dataFile)
    }
    if let backing = place(options.backingFileName) {
      for place in places where place.isSameFile(as: backing) { throw refuse("backing") }
    }
    return places
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
