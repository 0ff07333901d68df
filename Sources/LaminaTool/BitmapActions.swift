internal import BlockLayer
internal import DirtyBitmap
internal import Lamina

/// `bitmap`, spelled as qemu-img's: actions on one bitmap of an image, in their order.
///
/// Called as `lamina`, its words may also be those of `BitmapCommand`.
enum BitmapActions {
  private static let options = OptionParser(
    "b:source-file= F:source-format= f:format= g:granularity= :image-opts :object= :add :remove "
      + ":clear :enable :disable :merge=")

  /// What is done to the bitmap.
  private enum Action {
    case add
    case remove
    case clear
    case enable
    case disable
    case merge(source: String)

    init?(_ name: String, _ value: String) {
      switch name {
      case "add": self = .add
      case "remove": self = .remove
      case "clear": self = .clear
      case "enable": self = .enable
      case "disable": self = .disable
      case "merge": self = .merge(source: value)
      default: return nil
      }
    }

    var name: String {
      switch self {
      case .add: "add"
      case .remove: "remove"
      case .clear: "clear"
      case .enable: "enable"
      case .disable: "disable"
      case .merge: "merge"
      }
    }
  }

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    if tool.persona.kind == .lamina, BitmapCommand.knows(words) {
      return try await tool.perform(BitmapCommand.self, words)
    }
    var granularity: Int?
    let parsed = try options.parse(words, of: tool) { name, value in
      if name == "granularity" { granularity = try tool.size(value, "granularity") }
    }
    let actions = parsed.items.compactMap { Action($0.name, $0.value) }
    try check(actions, parsed, granularity)
    let operands = parsed.operands
    guard operands.count == 2 else {
      throw ToolFailure(message: "Expecting filename and bitmap name")
    }
    let session = try ImageSession(tool)
    let node = try await session.open(
      ImageName(operands[0], parsed), format: parsed.value("format"), readOnly: false,
      backing: .ignore)
    var source: BlockNode?
    do {
      if let file = parsed.value("source-file") {
        source = try await session.open(
          ImageName(file), format: parsed.value("source-format"), backing: .ignore)
      }
      for action in actions {
        try await perform(action, on: operands[1], node, source ?? node, granularity)
      }
    } catch {
      if let source { try? await session.graph.close(source) }
      try? await session.graph.close(node)
      throw error
    }
    if let source { try await session.graph.close(source) }
    try await session.graph.close(node)
    return 0
  }

  private static func check(
    _ actions: [Action], _ parsed: OptionParser.Result, _ granularity: Int?
  ) throws(ToolFailure) {
    var merges = false
    var adds = false
    for action in actions {
      switch action {
      case .merge: merges = true
      case .add: adds = true
      default: continue
      }
    }
    if actions.isEmpty {
      throw ToolFailure(
        message: "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
    }
    if let granularity, granularity > 0, !adds {
      throw ToolFailure(message: "granularity only supported with --add")
    }
    if parsed.has("source-format"), !parsed.has("source-file") {
      throw ToolFailure(message: "-F only supported with -b")
    }
    if parsed.has("source-file"), !merges {
      throw ToolFailure(message: "Merge bitmap source file only supported with --merge")
    }
  }

  private static func perform(
    _ action: Action, on name: String, _ node: BlockNode, _ source: BlockNode, _ granularity: Int?
  ) async throws(ToolFailure) {
    func failure(_ message: String) -> ToolFailure {
      ToolFailure(
        message: "Operation \(action.name) on bitmap \(OptionText.printable(name)) failed: "
          + message)
    }
    do {
      switch action {
      case .add:
        let granularity = granularity == 0 ? nil : granularity
        if let granularity, granularity > Int(UInt32.max) {
          throw failure("Granularity must be power of 2 and at least 512")
        }
        try node.addBitmap(name, granularity: granularity, persistent: true, disabled: false)
      case .remove: try await node.removeBitmap(name)
      case .clear: try node.bitmaps.named(name).clear()
      case .enable: try node.bitmaps.named(name).enable()
      case .disable: try node.bitmaps.named(name).disable()
      case .merge(let other):
        let target = try node.bitmaps.named(name)
        try target.merge(source.bitmaps.named(other))
      }
    } catch let error as ToolFailure {
      throw error
    } catch let error as BitmapError {
      throw failure(error.lines)
    } catch let error as BlockError {
      throw failure((error.cause as? BitmapError)?.lines ?? error.message)
    } catch {
      throw failure("\(error)")
    }
  }
}

extension BitmapError {
  /// The message, and what to do on a line of its own.
  fileprivate var lines: String { hint.map { "\(message)\n\($0)" } ?? message }
}
