import Lamina

/// The README's example; `ReadmeTests` compares the two.
func readmeExample(in folder: String) async throws -> [ByteRange] {
  // example:begin
  let world = World.threaded()
  return try await world.run { () async throws -> [ByteRange] in
    let graph = BlockGraph(world: world)
    try await graph.createQcow2(at: folder + "/disk.qcow2", size: 64 << 20)
    try await graph.createQcow2(at: folder + "/full.qcow2", size: 64 << 20)
    let disk = try await graph.openDisk(folder + "/disk.qcow2")
    let target = try await graph.openDisk(folder + "/full.qcow2")
    try await disk.write([UInt8]("hello".utf8), at: 1 << 20)
    let since = try disk.node.addBitmap("since-full", persistent: true)
    let job = try await JobRegistry(graph: graph).backup(
      BackupSpec(source: .node(disk.node), target: .node(target.node), sync: .full, jobID: "full"))
    try await disk.fill(0x41, at: 3 << 20, count: 100_000)  // the guest goes on writing
    guard await job.wait() == .success else { return [] }
    let changed = since.runs  // what the next, incremental backup will copy
    try await graph.closeDisk(target)
    try await graph.closeDisk(disk)
    return changed
  }
  // example:end
}
