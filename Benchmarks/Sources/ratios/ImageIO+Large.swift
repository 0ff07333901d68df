internal import BlockLayer
internal import Foundation
internal import Lamina
internal import Primitives
internal import SystemPackage

/// Images that are large, but not their files.
extension ImageIO {
  /// Opening an image of 64 TiB, reading a sector at its end, closing it.
  func openingRows(_ measurement: Measurement) async throws -> [Row] {
    let path = "\(folder)/large.qcow2"
    try await graph.createQcow2(at: path, size: 64 << 40)
    let graph = graph
    let sector = RequestBuffer(512)
    let open = {
      let disk = try await graph.openDisk(path)
      try await ImageIO.read(disk, (64 << 40) - 512, sector)
      try await graph.closeDisk(disk)
    }
    // First, since memory that was once asked for stays.
    let before = Machine.residentBytes
    let disk = try await graph.openDisk(path)
    try await ImageIO.read(disk, (64 << 40) - 512, sector)
    let grown = max(0, Machine.residentBytes - before)
    try await graph.closeDisk(disk)
    var memory = Row(
      suite: ImageIO.suite, operation: "resident memory", subject: "64 TiB", unit: "image",
      unitCount: 1, yardstick: "", figures: [])
    memory.verdict = Verdict(figure: Double(grown) / 0x1p20, limit: 8, unit: "MiB more")
    let contest = Contest(
      operation: "open", subject: "64 TiB",
      contenders: [Contender(requests: Contender.ours) { try await open() }],
      yardstick: "", bar: .nanoseconds(5e6))
    let row = try await contest.row(suite: ImageIO.suite, measurement)
    return [memory, row]
  }

  /// A check of an image with 1 TiB of clusters, all mapped and counted, none with data.
  func checkRow(rounds: Int) async throws -> Row {
    let path = "\(folder)/mapped.qcow2"
    var options = NewImageOptions(virtualSize: 1 << 40)
    options.preallocation = .metadata
    try await graph.createQcow2(at: FilePath(path), options)
    let graph = graph
    let ours = Contender(requests: Contender.ours) {
      let node = try await graph.open(
        path, OpenOptions(format: "qcow2", readOnly: true, backing: .ignore))
      guard let image = node.driver as? any CheckableImage else {
        throw RunnerError("the image cannot be checked")
      }
      let result = try await image.check()
      guard result.corruptions == 0, result.leaks == 0 else {
        throw RunnerError("the image is not sound")
      }
      try await graph.close(node)
    }
    var contenders = [ours]
    if let tool = ChildProcess.path(of: "qemu-img") {
      contenders.append(
        Contender("qemu-img") { _ = try? ChildProcess.run(tool, "check", "-q", path) })
    }
    let contest = Contest(
      operation: "check", subject: "1 TiB", unit: "cluster", unitCount: 1 << 24,
      contenders: contenders, yardstick: "", bar: .nanoseconds(5e9))
    return try await contest.row(
      suite: ImageIO.suite, Measurement(rounds: min(rounds, 5), budgetNanoseconds: 30e9))
  }
}
