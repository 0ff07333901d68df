internal import BlockLayer
internal import Lamina

/// `open` and `reopen`.
extension IOSession {
  func open(_ words: [String]) async throws {
    var request = IOOpenRequest()
    let parsed = try IOArguments(words, "snCro:ki:t:d:U", self) { letter, value in
      try request.take(letter, value)
    }
    guard parsed.operands.count <= 1 else { throw IOFailure.usage }
    request.name = parsed.operands.first
    try await open(request)
  }

  /// Opens an image, unless one is open already; `isAgain` where warnings were given before.
  func open(_ request: IOOpenRequest, isAgain: Bool = false) async throws(IOFailure) {
    guard image == nil else { throw .reported("file open already, try 'help close'") }
    let warner = isAgain ? Tool(console: .captured(), persona: tool.persona) : tool
    do {
      image = try await opened(request, warner)
    } catch {
      throw request.failure(error)
    }
    self.request = request
    image?.breakpoints?.observeStops { [events] stop in
      switch stop {
      case .stopped(let tag): events.say("blkdebug: Suspended request '\(tag)'")
      case .resumed(let tag): events.say("blkdebug: Resuming request '\(tag)'")
      }
    }
  }

  private func opened(
    _ request: IOOpenRequest, _ tool: Tool
  ) async throws(BlockError) -> IOImage {
    try request.check()
    let session: ImageSession
    do {
      session = try ImageSession(tool)
    } catch {
      throw BlockError(.unsupported, error.message)
    }
    var options = OpenOptions(
      format: request.format, readOnly: request.isReadOnly || request.isTemporary,
      discard: request.ignoresDiscards ? .ignore : .unmap)
    if request.sharesAll { options.locking = .forceShare }
    options.node.ignoresFlush = request.cache.ignoresFlush
    let name = request.imageName { tool.console.complain("\(tool.name): \($0)") }
    let builder = NodeBuilder(tool: tool, graph: session.graph, options: options)
    let node = try await builder.open(name).node
    do throws(BlockError) {
      guard request.isReadOnly || request.isTemporary || !node.isReadOnly else {
        throw BlockError(.readOnly, "Block node is read-only")
      }
      let image =
        request.isTemporary
        ? try await IOTemporaryImage.open(over: node, request, in: session.graph) : node
      var top = image
      if request.copiesOnRead {
        top = try session.graph.addNode(CopyOnReadDriver(image: image), options: image.options)
      }
      return try IOImage(
        top, of: image, in: session.graph, writesThrough: request.cache.writesThrough)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
  }

  func reopen(_ words: [String]) async throws {
    var changed = request
    var access: Bool?
    var cache: IOOpenRequest.CacheMode?
    var lists: [String] = []
    let parsed = try IOArguments(words, "c:o:rw", self) { letter, value in
      switch letter {
      case "r", "w":
        guard access == nil else {
          throw IOFailure.reported("Only one -r/-w option may be given")
        }
        access = letter == "r"
      case "c": cache = try IOOpenRequest.CacheMode(value)
      default: lists.append(value)
      }
    }
    guard parsed.operands.isEmpty else { throw IOFailure.usage }
    if let access { changed.isReadOnly = access }
    if let cache { changed.cache = cache }
    var options = IOOpenRequest()
    options.lists = lists
    let list = options.imageName { tool.console.complain("\(tool.name): \($0)") }
    try changed.apply(NodeSettings(imageOptions: list.text), access, cache)
    try await reopen(changed)
  }

  private func reopen(_ changed: IOOpenRequest) async throws {
    let old = request
    do {
      try changed.check()
    } catch {
      throw IOFailure.reported(error.message)
    }
    guard !old.isTemporary else {
      throw IOFailure.reported("A temporary overlay is gone when it is closed: it stays as it is")
    }
    await close()
    do {
      try await open(changed, isAgain: true)
    } catch {
      // As it was; what was opened before can be opened again.
      try await open(old, isAgain: true)
      throw error
    }
  }
}

extension IOOpenRequest {
  /// Takes options that may be changed while the image is open; throws for others.
  fileprivate mutating func apply(
    _ settings: NodeSettings, _ access: Bool?, _ cache: CacheMode?
  ) throws {
    var settings = settings
    do throws(BlockError) {
      if let flag = try settings.takeFlag("read-only") {
        if access != nil {
          throw BlockError(.invalidArgument, "Cannot set both -r/-w and 'read-only'")
        }
        isReadOnly = flag
      }
      for key in ["cache.direct", "cache.no-flush"] {
        guard let flag = try settings.takeFlag(key) else { continue }
        if cache != nil {
          throw BlockError(.invalidArgument, "Cannot set both -c and the cache options")
        }
        if key == "cache.no-flush" { self.cache.ignoresFlush = flag }
      }
      if let word = settings.take("discard") {
        guard let mode = ["ignore", "off", "unmap", "on"].firstIndex(of: word) else {
          throw BlockError(.invalidArgument, "Invalid discard option")
        }
        ignoresDiscards = mode < 2
      }
      try Qcow2Settings.take(&settings)
    } catch {
      throw IOFailure.reported(error.message)
    }
    guard let key = settings.firstKey else { return }
    let name = key.split(separator: ".").last.map(String.init) ?? key
    throw IOFailure.reported("Cannot change the option '\(OptionText.printable(name))'")
  }
}
