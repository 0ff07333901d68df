import Foundation

/// The installed `qemu-img` and `qemu-io`, if there are any: a second opinion that the suite does
/// without where they are absent.
struct QemuImg: Sendable {
  private let folder: String

  /// Nil, and a line on standard error that says so, where the tools are not installed.
  static let installed: QemuImg? = {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    for folder in path.split(separator: ":") {
      let tools = ["qemu-img", "qemu-io"].map { "\(folder)/\($0)" }
      if tools.allSatisfy({ FileManager.default.isExecutableFile(atPath: $0) }) {
        return QemuImg(folder: String(folder))
      }
    }
    FileHandle.standardError.write(
      Data("skipped: comparisons with qemu-img, which is not installed\n".utf8))
    return nil
  }()

  /// Runs a tool; answers its exit status and standard output.
  @discardableResult
  func run(_ tool: String, _ arguments: [String]) throws -> (status: Int, output: Data) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "\(folder)/\(tool)")
    process.arguments = arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (Int(process.terminationStatus), data)
  }

  /// What `qemu-img check` says of an image; nil where it refuses it or cannot complete.
  struct Check: Equatable {
    var leaks = 0
    var corruptions = 0
    var imageEndOffset = 0
    var totalClusters = 0
    var allocatedClusters = 0
    var fragmentedClusters = 0
    var compressedClusters = 0
  }

  func check(_ path: String) throws -> (status: Int, result: Check?) {
    let (status, output) = try run("qemu-img", ["check", "-f", "qcow2", "--output=json", path])
    guard status != 1, let object = try? JSONSerialization.jsonObject(with: output),
      let fields = object as? [String: Any]
    else { return (status, nil) }
    func number(_ key: String) -> Int { fields[key] as? Int ?? 0 }
    return (
      status,
      Check(
        leaks: number("leaks"), corruptions: number("corruptions"),
        imageEndOffset: number("image-end-offset"), totalClusters: number("total-clusters"),
        allocatedClusters: number("allocated-clusters"),
        fragmentedClusters: number("fragmented-clusters"),
        compressedClusters: number("compressed-clusters"))
    )
  }
}

/// A folder that is removed when it is no longer used.
final class ScratchFolder: Sendable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("qcow2-check-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }
}
