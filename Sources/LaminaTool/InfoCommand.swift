internal import BlockLayer
internal import Lamina
internal import Primitives
internal import Qcow2
internal import SystemPackage

/// `info`, spelled as qemu-img's.
///
/// It follows no name inside an image, but for `--backing-chain`.
enum InfoCommand {
  private static let options = OptionParser(
    "f:format= :output= :backing-chain :object= :image-opts U:force-share", ours: ":policy=")

  /// An image to look at.
  private struct Image {
    let name: ImageName
    let format: String?
    var confinement: FilePath?
  }

  @Sendable static func run(_ tool: Tool, _ words: [String]) async throws -> Int32 {
    let parsed = try options.parse(words, of: tool)
    guard let first = parsed.operands.first, parsed.operands.count == 1 else {
      throw ToolFailure.usage("Expecting one image file name")
    }
    let isJSON = try Output.isJSON(parsed.value("output"))
    let session = try ImageSession(tool, policy: parsed.value("policy"))
    var facts: [ImageFacts] = []
    var seen: [FileIdentity] = []
    var next: Image? = Image(name: ImageName(first, parsed), format: parsed.value("format"))
    while let image = next {
      let identity = image.name.plainPath.flatMap { FileIdentity(of: FilePath($0)) }
      guard facts.count <= session.graph.policy.maxDepth,
        !(identity.map { seen.contains($0) } ?? false)
      else {
        let name = OpenPolicy.printable(image.name.text)
        throw ToolFailure(message: "Backing file '\(name)' creates an infinite loop.")
      }
      if let identity { seen.append(identity) }
      let found = try await look(at: image, session, forceShare: parsed.has("force-share"))
      facts.append(found)
      next =
        parsed.has("backing-chain")
        ? try found.backing(session.graph.policy).map {
          Image(
            name: ImageName($0.path.string), format: $0.format, confinement: $0.confinement)
        } : nil
    }
    if isJSON {
      let all = facts.map(\.json)
      tool.console.print(
        parsed.has("backing-chain") ? JSONText.array(all).pretty() : all[0].pretty())
    } else {
      for (index, fact) in facts.enumerated() {
        if index > 0 { tool.console.print() }
        for line in fact.lines { tool.console.print(line) }
      }
    }
    return 0
  }

  private static func look(
    at image: Image, _ session: ImageSession, forceShare: Bool
  ) async throws(BlockError) -> ImageFacts {
    var options = OpenOptions(format: image.format, readOnly: true, backing: .ignore)
    options.confinement = image.confinement
    if forceShare { options.locking = .forceShare }
    let built = try await session.build(image.name, options, leavesFormat: true)
    do throws(BlockError) {
      var facts = ImageFacts(built)
      if built.format == "qcow2" {
        facts.qcow2 = try await Qcow2Driver.information(of: built.node)
      }
      try await session.graph.close(built.node)
      return facts
    } catch {
      try? await session.graph.close(built.node)
      throw error.prefixed("Could not open '\(OpenPolicy.printable(image.name.text))'")
    }
  }
}
