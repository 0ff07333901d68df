internal import Synchronization
public import SystemPackage

/// What a driver needs to know while it opens its image, and the door to files that it names.
public struct OpenContext: Sendable {
  /// The graph that the nodes belong to.
  public let graph: BlockGraph
  /// How this image is to be opened.
  public let options: OpenOptions
  /// The folder of the image; nil when it is no host file.
  public let folder: FilePath?
  /// This image and the overlays above it.
  let ancestry: Ancestry

  /// Opens the backing file that the image names, read-only, if the policy's gate lets it.
  ///
  /// Nil when the options say to leave it alone. A chain that leads back to itself is refused.
  public func openBacking(_ backing: RecordedBacking) async throws(BlockError) -> BlockNode? {
    switch options.backing {
    case .ignore: return nil
    case .node(let node): return node
    case .fromImage: break
    }
    let reference = OpenPolicy.Reference(
      role: .backing, name: backing.name, format: backing.format, folder: folder)
    guard ancestry.depth <= graph.policy.maxDepth else {
      throw BlockError(
        .backingLoop,
        "the backing chain is deeper than \(graph.policy.maxDepth) images; flatten a part of it")
    }
    let grant = try graph.policy.grant(reference)
    var options = OpenOptions(format: grant.format, readOnly: true)
    options.locking = self.options.locking
    do {
      return try await graph.open(
        grant.path, options, ancestry, confinement: grant.confinement)
    } catch {
      throw error.code == .backingLoop
        ? error : error.prefixed("Could not open backing file")
    }
  }

  /// Opens the data file that the image names, for writing if the image is, if the policy's gate
  /// lets it.
  ///
  /// `name` nil: the image does not say; then the options must, and QEMU's text says so.
  public func openDataFile(_ name: String?) async throws(BlockError) -> BlockNode {
    if case .node(let node) = options.dataFile { return node }
    guard let name else {
      throw BlockError(.invalidArgument, "'data-file' is required for this image")
    }
    guard !options.isFormatGuessed || options.isReadOnly else {
      throw OpenPolicy.refusal(
        OpenPolicy.Reference(role: .dataFile, name: name, format: "file", folder: folder),
        "it would be written, and the image's format was only guessed: whoever could write to a "
          + "raw disk may have made it look so; state the format")
    }
    // The host file itself: it grows when data is written behind its end.
    let grant = try graph.policy.grant(
      OpenPolicy.Reference(role: .dataFile, name: name, format: "file", folder: folder))
    var options = OpenOptions(format: "file", readOnly: self.options.isReadOnly)
    options.locking = self.options.locking
    // It is written: an image must not get at a disk of the host by its name.
    options.isRegularFileOnly = true
    options.node.discard = self.options.node.discard
    do {
      return try await graph.open(
        grant.path, options, ancestry, confinement: grant.confinement)
    } catch {
      throw error.prefixed("Could not open data file")
    }
  }
}

/// The nodes that one opening has added, for its end if it fails.
final class OpenedNodes: Sendable {
  private let nodes = Mutex<[BlockNode]>([])

  /// The nodes, newest first.
  var all: [BlockNode] { nodes.withLock { $0.reversed() } }

  func add(_ node: BlockNode) { nodes.withLock { $0.append(node) } }
}

/// The overlays above an image that is being opened.
struct Ancestry: Sendable {
  /// What the whole opening has added to the graph.
  let opened: OpenedNodes
  /// The host files among them, those of this image too.
  private(set) var files: [FileIdentity] = []
  /// How many images there are, this one included.
  private(set) var depth = 0

  init(_ opened: OpenedNodes) { self.opened = opened }

  /// The ancestry with one image more, which lies in `file` if that is a host file.
  func adding(_ file: FileIdentity?) -> Ancestry {
    var longer = self
    longer.depth += 1
    if let file { longer.files.append(file) }
    return longer
  }
}
