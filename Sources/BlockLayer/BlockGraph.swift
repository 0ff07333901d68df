public import Execution
internal import Primitives
internal import Synchronization
public import SystemPackage

/// A set of nodes with names, and the backends that enter it.
///
/// All belong to one World.
///
/// Changes of the graph (opening, closing, filters in and out) are made by one task at a time: who
/// shares a graph with jobs, which take their filters out when they end, holds `changes` meanwhile.
/// Requests run meanwhile, except where a change drains them.
public final class BlockGraph: Sendable {
  /// The World whose threads run the requests.
  public let world: World
  /// The drivers.
  public let registry: DriverRegistry
  /// The gate for names inside images.
  public let policy: OpenPolicy
  /// Held by who changes the graph; jobs do when they begin and end.
  public let changes = AsyncMutex()

  private struct State {
    var nodes: [BlockNode] = []  // newest first
    var backends: [BlockBackend] = []
    var nextName = 0
  }
  private let state = Mutex(State())

  /// Makes an empty graph in `world`.
  public init(world: World, registry: DriverRegistry, policy: OpenPolicy = .confined) {
    self.world = world
    self.registry = registry
    self.policy = policy
  }

  // MARK: - Nodes

  /// The nodes, newest first.
  public var nodes: [BlockNode] { state.withLock { $0.nodes } }

  /// The backends, in the order in which they were made.
  public var backends: [BlockBackend] { state.withLock { $0.backends } }

  /// The node of that name; throws `notFound` with QEMU's text.
  public func node(named name: String) throws(BlockError) -> BlockNode {
    guard let node = nodes.first(where: { $0.name == name }) else {
      throw BlockError(.notFound, "Cannot find device='' nor node-name='\(name)'")
    }
    return node
  }

  /// Adds a node over `driver`.
  ///
  /// Throws when the name is ill-formed or taken, or when the driver's use of its children
  /// conflicts with their other users; the driver's edges are detached then.
  public func addNode(
    _ driver: any BlockDriver, name: String? = nil, options: NodeOptions = NodeOptions()
  ) throws(BlockError) -> BlockNode {
    do throws(BlockError) {
      return try register(driver, name, options)
    } catch {
      for edge in driver.children { edge.detach() }
      throw error
    }
  }

  /// Adds a node over `driver`, whose edges stay as they are when it throws.
  private func register(
    _ driver: any BlockDriver, _ name: String?, _ options: NodeOptions
  ) throws(BlockError) -> BlockNode {
    if let name { try checkNodeName(name) }
    let node = BlockNode(
      name: name ?? generateName(), driver: driver, options: options, world: world)
    try PermissionCheck.refresh(node)
    state.withLock { $0.nodes.insert(node, at: 0) }
    return node
  }

  /// Throws, with QEMU's texts, when a new node cannot have that name.
  public func checkNodeName(_ name: String) throws(BlockError) {
    let bytes = Array(name.utf8)
    let isLetter = { (byte: UInt8) in (0x41...0x5a).contains(byte & 0xdf) }
    let isLegal = { (byte: UInt8) in
      isLetter(byte) || (0x30...0x39).contains(byte) || "-._".utf8.contains(byte)
    }
    guard let first = bytes.first, isLetter(first), bytes.allSatisfy(isLegal) else {
      throw BlockError(.invalidArgument, "Invalid node-name: '\(OpenPolicy.printable(name))'")
    }
    guard bytes.count <= 31 else { throw BlockError(.invalidArgument, "Node name too long") }
    guard !nodes.contains(where: { $0.name == name }) else {
      throw BlockError(.alreadyExists, "Duplicate nodes with node-name='\(name)'")
    }
    guard !backends.contains(where: { $0.name == name }) else {
      throw BlockError(
        .alreadyExists, "node-name=\(name) is conflicting with a device id")
    }
  }

  private func generateName() -> String {
    state.withLock { state in
      defer { state.nextName += 1 }
      return "#block\(state.nextName)"  // '#' is illegal in a user's name: no collision
    }
  }

  // MARK: - Opening and closing

  /// Opens the image at `path`, with what it names, through the policy's gate.
  public func open(_ path: String, _ options: OpenOptions) async throws(BlockError) -> BlockNode {
    try await open(FilePath(path), options)
  }

  /// Opens the image at `path`, with what it names, through the policy's gate.
  ///
  /// When it throws, nothing that it opened stays open.
  public func open(_ path: FilePath, _ options: OpenOptions) async throws(BlockError)
    -> BlockNode
  {
    try await cleaningUp(options) { opened async throws(BlockError) in
      try await open(path, options, Ancestry(opened), confinement: nil)
    }
  }

  /// Opens the image that lies in `file`, a node of this graph.
  ///
  /// The names in it, if the policy's gate lets any through, are relative to `folder`. When it
  /// throws, nothing but `file` stays open.
  public func open(
    file: BlockNode, _ options: OpenOptions, folder: FilePath? = nil
  ) async throws(BlockError) -> BlockNode {
    try await cleaningUp(options, file) { opened async throws(BlockError) in
      try await open(file: file, options, folder, Ancestry(opened))
    }
  }

  func open(
    _ path: FilePath, _ options: OpenOptions, _ ancestry: Ancestry, confinement: FilePath?
  ) async throws(BlockError) -> BlockNode {
    // Before it is opened: its locks would only say that we have it open.
    if let identity = FileIdentity(of: path), ancestry.files.contains(identity) {
      throw BlockError(
        .backingLoop, "Backing file '\(OpenPolicy.printable(path.string))' creates an infinite loop"
      )
    }
    var fileOptions = options
    fileOptions.confinement = confinement ?? options.confinement
    if fileOptions.confinement != nil { fileOptions.isRegularFileOnly = true }
    let driver = try await registry.hostOpener()(path, fileOptions)
    let isRoot = options.format == "file"
    var nodeOptions = NodeOptions(isReadOnly: options.isReadOnly, discard: options.node.discard)
    nodeOptions.ignoresFlush = options.node.ignoresFlush
    let file = try register(driver, isRoot ? options.nodeName : nil, nodeOptions)
    ancestry.opened.add(file)
    if isRoot, options.snapshot == nil { return file }
    if isRoot { throw BlockError(.unsupported, "file images have no internal snapshots") }
    return try await open(file: file, options, path.removingLastComponent(), ancestry)
  }

  private func open(
    file: BlockNode, _ options: OpenOptions, _ folder: FilePath?, _ ancestry: Ancestry
  ) async throws(BlockError) -> BlockNode {
    // Before anything is opened for it.
    if let name = options.nodeName { try checkNodeName(name) }
    guard options.snapshot == nil || options.isReadOnly else {
      throw BlockError(.readOnly, "an internal snapshot can be opened read-only alone")
    }
    var options = options
    let format = try await formatName(options, file)
    if options.format == nil { options.isFormatGuessed = true }
    options.format = format
    let opener = try registry.format(format)
    let context = OpenContext(
      graph: self, options: options, folder: folder,
      ancestry: ancestry.adding((file.dataNode.driver as? any HostBacked)?.identity))
    let driver = try await opener(file, context)
    let node: BlockNode
    do throws(BlockError) {
      if options.snapshot != nil, !(driver is any SnapshotStore) {
        throw BlockError(
          .unsupported, "\(driver.driverName) images have no internal snapshots", node: file.name)
      }
      guard driver.length <= policy.maxVirtualSize else {
        throw BlockError(
          .refused,
          "the disk has \(driver.length) bytes, and the open policy allows "
            + "\(policy.maxVirtualSize)", node: file.name)
      }
      node = try register(driver, options.nodeName, options.node)
    } catch {
      try? await driver.close()
      for edge in driver.children { edge.detach() }
      throw error
    }
    ancestry.opened.add(node)
    if !options.isForCheck, options.snapshot == nil { try await loadBitmaps(of: node) }
    return node
  }

  /// Runs an opening; when it fails, closes the nodes that it added, those without users first.
  ///
  /// The caller's own, `file` and the backing node, stay open.
  private func cleaningUp(
    _ options: OpenOptions, _ file: BlockNode? = nil,
    _ body: (OpenedNodes) async throws(BlockError) -> BlockNode
  ) async throws(BlockError) -> BlockNode {
    let opened = OpenedNodes()
    do throws(BlockError) {
      return try await body(opened)
    } catch {
      var given = file.map { [$0] } ?? []
      if case .node(let backing) = options.backing { given.append(backing) }
      // Who has a user is not closed with what is above.
      let holds = given.compactMap { try? BlockEdge(.root, to: $0, user: "an opening") }
      defer { for hold in holds { hold.detach() } }
      for node in opened.all {
        // A bitmap that could not be read must not be stored.
        for bitmap in node.bitmaps.all { node.bitmaps.drop(bitmap) }
        if node.parentEdges.isEmpty { try? await close(node) }
      }
      throw error
    }
  }

  private func formatName(
    _ options: OpenOptions, _ file: BlockNode
  ) async throws(BlockError) -> String {
    if let format = options.format { return format }
    guard policy.allowsProbing else {
      throw BlockError(
        .invalidArgument,
        "no format was given, and the open policy does not probe; say the format ("
          + registry.formatNames.joined(separator: ", ") + ")"
      )
    }
    return try await probe(file)
  }

  /// The format that the first bytes of `file` look like; `raw` when they look like none.
  ///
  /// A guest that may write to a raw image can make it look like any format.
  public func probe(_ file: BlockNode) async throws(BlockError) -> String {
    var head = IOBuffer(byteCount: 512)
    var bytes = head.mutableBytes
    try await file.read(ByteRange(0, 512), into: &bytes)
    return registry.probe(bytes.bytes)
  }

  private func loadBitmaps(of node: BlockNode) async throws(BlockError) {
    guard let store = node.driver as? any PersistentBitmapStore else { return }
    for bitmap in try await store.loadBitmaps() { try node.bitmaps.insert(bitmap) }
  }

  /// Closes `node`: its bitmaps are stored, its driver writes back and lets go; then the nodes
  /// below that nobody else uses and nobody named are closed.
  ///
  /// Refused while it has users.
  public func close(_ node: BlockNode) async throws(BlockError) {
    guard node.parentEdges.isEmpty else {
      let user = node.parentEdges.first?.user ?? ""
      throw BlockError(.inUse, "Node \(node.name) is in use by \(user)", node: node.name)
    }
    guard state.withLock({ $0.nodes.contains { $0 === node } }) else { return }
    var failure: BlockError?
    do throws(BlockError) {
      if !node.bitmaps.all.isEmpty { try await node.storeBitmaps() }
    } catch {
      failure = error.prefixed("Lost persistent bitmaps while closing node '\(node.name)'")
    }
    do { try await node.flush() } catch { failure = failure ?? error }
    let children = node.driver.children
    do { try await node.driver.close() } catch { failure = failure ?? error }
    state.withLock { state in state.nodes.removeAll { $0 === node } }
    for edge in children {
      let below = edge.node
      edge.detach()
      if below.parentEdges.isEmpty, below.name.hasPrefix("#") {
        do { try await close(below) } catch { failure = failure ?? error }
      }
    }
    if let failure { throw failure }
  }

  // MARK: - Backends

  /// Throws, with QEMU's texts, when a backend cannot have that name.
  func checkBackendName(_ name: String) throws(BlockError) {
    guard !nodes.contains(where: { $0.name == name }) else {
      throw BlockError(
        .alreadyExists, "Device name '\(name)' conflicts with an existing node name")
    }
    guard !backends.contains(where: { $0.name == name }) else {
      throw BlockError(.alreadyExists, "Device with id '\(name)' already exists")
    }
  }

  func add(_ backend: BlockBackend) { state.withLock { $0.backends.append(backend) } }

  func remove(_ backend: BlockBackend) {
    state.withLock { state in state.backends.removeAll { $0 === backend } }
  }
}
