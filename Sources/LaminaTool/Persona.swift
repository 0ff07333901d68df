/// As which tool the binary answers: it goes by the name by which it is called.
///
/// Called through a link that is named `qemu-img` or `qemu-io`, it is that tool: its name stands in
/// every message, its commands are the ones there are. By any other name it is `lamina`.
struct Persona: Sendable, Equatable {
  /// A tool that the binary can be.
  enum Kind: Sendable {
    case lamina
    case image
    case exerciser
  }

  /// The tool.
  let kind: Kind
  /// Its name in messages.
  let name: String

  /// Our own tool.
  static let lamina = Persona(kind: .lamina, name: "lamina")
  /// `qemu-img`.
  static let image = Persona(kind: .image, name: "qemu-img")
  /// `qemu-io`.
  static let exerciser = Persona(kind: .exerciser, name: "qemu-io")

  private init(kind: Kind, name: String) { (self.kind, self.name) = (kind, name) }

  /// The tool that goes by the last component of `path`, the zeroth word of a call.
  init(calledAs path: String) {
    let name = path.split(separator: "/").last.map(String.init) ?? ""
    self = [Persona.image, .exerciser].first { $0.name == name } ?? .lamina
  }

  /// The version of the tool.
  static let version = "0.1.0"
  /// The version of the tools whose calls and answers ours are.
  private static let imitated = "7.2.22"

  /// What `--version` prints: who looks for a number finds the one whose answers they will get.
  var versionLines: [String] {
    switch kind {
    case .lamina: ["lamina version \(Self.version)"]
    default:
      [
        "\(name) version \(Self.imitated) (Lamina \(Self.version))",
        "Part of Lamina, a block layer in Swift; not a part of QEMU.",
      ]
    }
  }
}
