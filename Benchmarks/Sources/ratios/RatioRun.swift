internal import BitmapWorkloads
internal import BlockLayer
internal import DirtyBitmap
internal import Execution
internal import Foundation
internal import Lamina
internal import Primitives

/// One run: what the command line asks for.
struct RatioRun {
  let command: Ratios

  init(_ command: Ratios) { self.command = command }

  /// Measures; in text mode each row is printed when it is there.
  func report(in world: World) async throws -> Report {
    var report = Report(
      machine: .current, arguments: Array(ProcessInfo.processInfo.arguments.dropFirst()))
    say(ReportText.head(report.machine))
    // First: the memory of programs is told from the runner's own while that is small.
    if command.includes(BackupCopy.suite) { report.rows += try await backupCopy(in: world) }
    if command.includes(ImageTools.suite) { report.rows += try await imageTools() }
    if command.includes(BitmapScan.suite) { report.rows += try await bitmapScan(in: world) }
    if command.includes(ImageIO.suite) { report.rows += try await imageIO(in: world) }
    return report
  }

  private func say(_ text: String) {
    guard command.output == .text else { return }
    print(text)
    fflush(nil)
  }

  // MARK: - BitmapScan

  private func bitmapScan(in world: World) async throws -> [Row] {
    let loaded = try await loadedBitmap(in: world)
    let suite = BitmapScan(
      size: try loaded?.size ?? bytes(command.size, "size"),
      granularity: try loaded?.granularity ?? bytes(command.granularity, "granularity"))
    guard (2...1 << 32 - 1).contains(suite.granuleCount) else {
      throw RunnerError("\(suite.granuleCount) granules: choose 2 to 2^32 - 1")
    }
    let sizes = "\(ByteSize.describe(suite.size)) at \(ByteSize.describe(suite.granularity))"
    say(
      ReportText.title(BitmapScan.suite, "\(sizes), \(suite.granuleCount) granules, processor time")
    )
    let measurement = Measurement(rounds: command.rounds, time: .processor)
    var rows: [Row] = []
    for name in try subjectNames(loaded) {
      let subject = BitmapScan.Subject(name: name, bits: bits(name, suite.granuleCount, loaded))
      for contest in try suite.contests(subject) {
        rows.append(try await contest.row(suite: BitmapScan.suite, measurement))
        rows.last.map { say(ReportText.line($0)) }
      }
    }
    for contest in try suite.settingContests() where loaded == nil {
      rows.append(try await contest.row(suite: BitmapScan.suite, measurement))
      rows.last.map { say(ReportText.line($0)) }
    }
    return rows
  }

  private func bytes(_ text: String, _ option: String) throws -> Int {
    guard let size = ByteSize.parse(text) else {
      throw RunnerError("--\(option): no size: \(text)")
    }
    return size
  }

  private func subjectNames(_ loaded: HierarchicalBitmap?) throws -> [String] {
    if loaded != nil { return [command.name ?? ""] }
    if let density = command.density { return ["\(density)"] }
    let all = Pattern.allCases.map(\.rawValue)
    if let unknown = command.pattern.first(where: { !all.contains($0) }) {
      throw RunnerError("no spread is called \(unknown); there are \(all.joined(separator: ", "))")
    }
    return command.pattern.isEmpty ? all : command.pattern
  }

  private func bits(_ name: String, _ count: Int, _ loaded: HierarchicalBitmap?) -> FlatBits {
    if let loaded {
      let bits = FlatBits(bitCount: count)
      var target = MutableRawSpan(_unsafeBytes: bits.bytes)
      loaded.serialize(atByte: 0, into: &target)
      return bits
    }
    if let density = command.density { return Pattern.bits(count, density: density) }
    return (Pattern(rawValue: name) ?? .empty).bits(count)
  }

  /// The bitmap that `--bitmap` and `--name` say, read from its image.
  private func loadedBitmap(in world: World) async throws -> HierarchicalBitmap? {
    guard let path = command.bitmap, let name = command.name else { return nil }
    let graph = BlockGraph(world: world)
    let node = try await graph.open(
      path, OpenOptions(format: "qcow2", readOnly: true, backing: .ignore))
    let bitmap = try node.bitmaps.named(name)
    try bitmap.checkUsable()
    let bits = try bitmap.copyBits()
    try await graph.close(node)
    return bits
  }

  // MARK: - BackupCopy

  private func backupCopy(in world: World) async throws -> [Row] {
    guard let lamina = command.lamina ?? ProcessInfo.processInfo.environment["LAMINA"] else {
      say("\n\(BackupCopy.suite) is left out: name a release build of lamina by --lamina")
      return []
    }
    var sizes = BackupCopy.Sizes()
    sizes.data = try bytes(command.data, "data")
    sizes.sparseDisk = try bytes(command.sparse, "sparse")
    sizes.dirtyGranules = command.dirty
    let suite = try BackupCopy(world, sizes, lamina: lamina, in: command.folder)
    say(ReportText.title(BackupCopy.suite, "whole runs of programs, page cache warm, wall time"))
    suite.absence.map(say)
    let measurement = Measurement(rounds: command.rounds, budgetNanoseconds: 30e9)
    var rows: [Row] = []
    for contest in [try await suite.fullBackup(), try await suite.incrementalBackup()] {
      let row = try await suite.row(contest, measurement)
      rows.append(row)
      say(ReportText.line(row))
      ReportText.memoryLine(row).map(say)
    }
    try suite.close()
    return rows
  }

  // MARK: - ImageTools

  private func imageTools() async throws -> [Row] {
    guard let lamina = command.lamina ?? ProcessInfo.processInfo.environment["LAMINA"] else {
      say("\n\(ImageTools.suite) is left out: name a release build of lamina by --lamina")
      return []
    }
    guard let qemuImg = ChildProcess.path(of: "qemu-img") else {
      say("\n\(ImageTools.suite) is left out: qemu-img, its yardstick, is not installed")
      return []
    }
    let suite = try ImageTools(
      lamina: lamina, qemuImg: qemuImg, source: command.image, in: command.folder)
    say(ReportText.title(ImageTools.suite, "whole runs of programs, page cache warm, wall time"))
    let measurement = Measurement(rounds: command.rounds, budgetNanoseconds: 600e9)
    var rows: [Row] = []
    for stage in suite.stages {
      for contest in try stage() where isWanted(contest) {
        let row = try await suite.row(contest, measurement)
        rows.append(row)
        say(ReportText.line(row))
        ReportText.memoryLine(row).map(say)
      }
    }
    try suite.close()
    return rows
  }

  private func isWanted(_ contest: Contest) -> Bool {
    command.only.isEmpty
      || command.only.contains { contest.operation.contains($0) || contest.subject.contains($0) }
  }

  // MARK: - ImageIO

  private func imageIO(in world: World) async throws -> [Row] {
    let time = command.processorTime ? "processor" : "wall"
    say(
      ReportText.title(
        ImageIO.suite, "\(ByteSize.describe(ImageIO.length)), clusters of 64 KiB, \(time) time"))
    let image = try await ImageIO(world: world, in: command.folder)
    let measurement = Measurement(
      rounds: command.rounds, time: command.processorTime ? .processor : .wall)
    var rows: [Row] = []
    func tell(_ row: Row) {
      rows.append(row)
      say(ReportText.line(row))
    }
    for row in try await image.openingRows(measurement) { tell(row) }
    for contest in image.contests {
      tell(try await contest.row(suite: ImageIO.suite, measurement))
    }
    tell(try await image.readScalingRow(rounds: command.rounds))
    tell(try await image.allocationRow())
    let compressed = try await CompressedImage(image.graph, "\(image.folder)/compressed.qcow2")
    tell(try await image.inflatingRow(compressed, measurement))
    tell(try await image.inflatingScalingRow(compressed, rounds: command.rounds))
    try await image.graph.closeDisk(compressed.disk)
    tell(try await image.checkRow(rounds: command.rounds))
    try await image.close()
    return rows
  }
}
