import Lamina
import SystemPackage

/// The example of docs/Importing.md; `ReadmeTests` compares the two.
func importUpload(_ upload: String, to disk: String) async throws -> [String] {
  // example:begin
  let world = World.threaded()
  return try await world.run { () async throws -> [String] in
    // Nothing that the image names is opened, and it may not claim to be larger than 1 TiB.
    var policy = OpenPolicy.none
    policy.maxVirtualSize = 1 << 40
    let graph = BlockGraph(world: world, policy: policy)

    // Look before opening: the header and the directories alone are read.
    let file = try await graph.open(upload, OpenOptions(format: "file", readOnly: true))
    let told = try await Qcow2Driver.information(of: file)
    try await graph.close(file)
    guard told.violations.isEmpty else { return told.violations.map(\.description) }

    // The format is stated, never guessed from bytes that somebody else wrote.
    let image = try await graph.open(upload, OpenOptions(format: "qcow2", readOnly: true))
    var conversion = ImageConversion()
    conversion.options.workerCount = 4
    try await graph.convert([image], to: FilePath(disk), format: "raw", nil, conversion)
    try await graph.close(image)
    return []
  }
  // example:end
}
