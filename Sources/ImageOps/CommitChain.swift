public import BlockLayer
public import SystemPackage

/// An overlay and a layer below it, both open for writing, and what is between them for reading.
public struct CommitChain: Sendable {
  /// The overlay.
  public let top: BlockNode
  /// The layer below.
  public let base: BlockNode
  /// Whether the base is the overlay's own backing node.
  public let isNext: Bool
}

extension BlockGraph {
  /// Opens the image at `path` and its chain so that it can be committed to one of the layers.
  ///
  /// `isBase` is asked of each backing file, the nearest first, with the name by which the overlay
  /// names it and with the node; nil takes the nearest. The chain is opened read-only first,
  /// through the policy's gate, to see what it is. Throws `notFound` when no layer is the base.
  /// Close the top, then the base.
  public func openForCommit(
    _ path: FilePath, _ options: OpenOptions,
    isBase: ((_ name: String, _ node: BlockNode) -> Bool)? = nil
  ) async throws(BlockError) -> CommitChain {
    let layers = try await layers(of: path, options, isBase)
    var opened: [BlockNode] = []
    do throws(BlockError) {
      for (index, layer) in layers.enumerated().reversed() {
        var layerOptions = OpenOptions(format: layer.format)
        layerOptions.locking = options.locking
        layerOptions.node = options.node
        let isInside = index > 0 && index < layers.count - 1
        layerOptions.isReadOnly = isInside
        if let below = opened.last { layerOptions.backing = .node(below) }
        let node = try await open(layer.path, layerOptions)
        opened.append(node)
        // Between the two openings nobody may have put another file in its place.
        guard node.hostIdentity == layer.identity else {
          throw BlockError(.inUse, "'\(layer.path)' was replaced meanwhile", node: node.name)
        }
      }
    } catch {
      for node in opened.reversed() where node.parentEdges.isEmpty { try? await close(node) }
      throw error
    }
    return CommitChain(top: opened[opened.count - 1], base: opened[0], isNext: opened.count == 2)
  }

  /// The images from the top to the base.
  private func layers(
    of path: FilePath, _ options: OpenOptions,
    _ isBase: ((_ name: String, _ node: BlockNode) -> Bool)?
  ) async throws(BlockError) -> [Layer] {
    var options = options
    options.isReadOnly = true
    let top = try await open(path, options)
    var layers: [Layer]?
    do throws(BlockError) {
      layers = try Self.layers(from: top, isBase)
    } catch {
      try? await close(top)
      throw error
    }
    try await close(top)
    guard let layers else {
      throw BlockError(.notFound, "no layer of the chain is the base", node: top.name)
    }
    return layers
  }

  private static func layers(
    from top: BlockNode, _ isBase: ((_ name: String, _ node: BlockNode) -> Bool)?
  ) throws(BlockError) -> [Layer]? {
    var layers = [try Layer(top)]
    var node = top.dataNode
    guard node.backing != nil else {
      throw BlockError(.notFound, "Image does not have a backing file", node: top.name)
    }
    while let below = node.backing {
      layers.append(try Layer(below))
      let name = (node.driver as? any BackingFileImage)?.recordedBacking?.name ?? ""
      if isBase?(name, below) ?? true { return layers }
      node = below.dataNode
    }
    return nil
  }
}

private struct Layer {
  let path: FilePath
  let format: String
  let identity: FileIdentity?

  init(_ node: BlockNode) throws(BlockError) {
    guard let path = node.hostPath else {
      throw BlockError(
        .unsupported, "a layer that lies in no host file cannot be opened anew", node: node.name)
    }
    self.path = path
    format = node.dataNode.driver.driverName
    identity = node.hostIdentity
  }
}
