internal import BlockLayer
internal import Execution
internal import Lamina
internal import Primitives

/// `lamina bench`, spelled as `qemu-img bench`.
enum BenchCommand {
  static let options = OptionParser(
    "c= d= f= i= n o= q s= S= t= w U:force-share :flush-interval= :pattern= :no-drain :image-opts")

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    var plan = BenchPlan()
    var mode = "writeback"
    var isNative = false
    let parsed = try options.parse(words, of: tool) { name, value in
      switch name {
      case "n": isNative = true
      case "i":
        guard ["threads", "native", "io_uring"].contains(value) else {
          throw ToolFailure(message: "Invalid aio option: \(value)")
        }
        isNative = value == "native"
      case "t":
        guard (try? CacheMode.ignoresFlush(value)) != nil else {
          throw ToolFailure(message: "Invalid cache mode")
        }
        mode = value
      default: try plan.take(name, value, tool)
      }
    }
    guard let path = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    try plan.check()
    try parsed.checkFormat("f")
    plan.flushesEach = plan.writes && ["writethrough", "directsync"].contains(mode)
    let isDirect = ["none", "off", "directsync"].contains(mode)
    func refuse(_ problem: String) -> ToolFailure {
      ToolFailure(message: "Could not open '\(OpenPolicy.printable(path))': \(problem)")
    }
    guard !plan.writes || !parsed.has("force-share") else {
      throw refuse("force-share=on can only be used with read-only images")
    }
    let session = try ImageSession(tool)
    let node = try await session.open(
      ImageName(path, parsed), format: parsed.value("f"), readOnly: !plan.writes,
      forceShare: parsed.has("force-share"), ignoresFlush: mode == "unsafe")
    do {
      guard !isNative || isDirect else {
        throw refuse(
          "aio=native was specified, but it requires cache.direct=on, which was not specified.")
      }
      try await run(plan, on: node, tool)
    } catch {
      try? await session.graph.close(node)
      throw error
    }
    try await session.graph.close(node)
    return 0
  }

  private static func run(_ plan: BenchPlan, on node: BlockNode, _ tool: Tool) async throws {
    tool.console.print(
      "Sending \(plan.count) \(plan.writes ? "write" : "read") requests, \(plan.size) bytes each, "
        + "\(plan.depth) in parallel (starting at offset \(plan.offset), step size "
        + "\(plan.step))")
    if plan.flushInterval > 0 {
      tool.console.print(
        "Sending flush every \(plan.flushInterval) requests")
    }
    let start = World.current?.now
    do throws(BlockError) {
      try await BenchRun(plan, node).run()
    } catch {
      throw ToolFailure(message: "Failed request: \(error.errno)")
    }
    guard let start, let end = World.current?.now else { return }
    let milliseconds = (end.nanoseconds(since: start) + 500_000) / 1_000_000
    let fraction = String(1000 + milliseconds % 1000).dropFirst()
    tool.console.print("Run completed in \(milliseconds / 1000).\(fraction) seconds.")
  }
}

/// The requests that `bench` sends.
struct BenchPlan: Sendable {
  private(set) var count = 75000
  private(set) var depth = 64
  private(set) var offset = 0
  /// The bytes of a request.
  private(set) var size = 4096
  /// From one request to the next; the size, unless that is said.
  var step: Int { statedStep == 0 ? size : statedStep }
  private var statedStep = 0
  private(set) var writes = false
  private(set) var pattern: UInt8 = 0
  /// A flush follows so many requests; 0: none.
  private(set) var flushInterval = 0
  /// Whether requests under way are waited for before a flush.
  private(set) var drains = true
  /// Whether each write is made durable.
  var flushesEach = false

  /// Takes an option of the call.
  mutating func take(_ name: String, _ value: String, _ tool: Tool) throws(ToolFailure) {
    func number(_ what: String, _ limit: Int = Int(Int32.max)) throws(ToolFailure) -> Int {
      guard let number = NumberText.integer(value, in: 0...limit) else {
        throw ToolFailure(message: "Invalid \(what) specified")
      }
      return number
    }
    switch name {
    case "c": count = try number("request count")
    case "d": depth = try number("queue depth")
    case "flush-interval": flushInterval = try number("flush interval")
    case "pattern": pattern = UInt8(truncatingIfNeeded: try number("pattern byte", 0xff))
    case "o": offset = try tool.size(value, "offset")
    case "s": size = try tool.size(value, "buffer size", in: 0...Int(Int32.max))
    case "S": statedStep = try tool.size(value, "step_size", in: 0...Int(Int32.max))
    case "w": writes = true
    case "no-drain": drains = false
    default: break
    }
  }

  /// Throws for options that do not go together.
  func check() throws(ToolFailure) {
    if flushInterval > 0 {
      guard writes else {
        throw ToolFailure(message: "--flush-interval is only available in write tests")
      }
      guard flushInterval >= depth else {
        throw ToolFailure(message: "Flush interval can't be smaller than depth")
      }
    }
    guard depth > 0 else { throw ToolFailure(message: "Invalid queue depth specified") }
  }
}
