internal import ArgumentParser
internal import Execution
internal import Foundation
internal import Primitives

/// The interleaved ratio runner.
@main
struct Ratios: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ratios",
    abstract: "Measure Lamina and its yardsticks in turns, and tell the ratios.")

  enum Output: String, ExpressibleByArgument { case text, json }

  @Argument(help: "backup-copy, bitmap-scan, image-io, image-tools; all when none is named.")
  var suites: [String] = []
  @Option(help: "Bytes of the disk that the bitmap describes, such as 4T.")
  var size = "4T"
  @Option(help: "Bytes that a bit stands for, such as 64K.")
  var granularity = "64K"
  @Option(help: "Only this spread: sparse, runs, half, full, holes or empty; may be repeated.")
  var pattern: [String] = []
  @Option(help: "Instead of the spreads: each bit set with this probability, 0 to 1.")
  var density: Double?
  @Option(help: "Instead of the spreads: a persistent bitmap of this qcow2 image.")
  var bitmap: String?
  @Option(help: "The name of the bitmap in the image.")
  var name: String?
  @Option(help: "Rounds; each measures every contender once.")
  var rounds = 15
  @Flag(help: "Reckon image-io by processor time, for machines that do other work too.")
  var processorTime = false
  @Option(help: "Bytes of data on the disk of backup-copy's full backup.")
  var data = "1G"
  @Option(help: "Bytes of the sparse disk of backup-copy's incremental backup.")
  var sparse = "1T"
  @Option(help: "Granules of 64 KiB that are dirty on it.")
  var dirty = 1000
  @Option(help: "The lamina command, built for release; LAMINA in the environment without it.")
  var lamina: String?
  @Option(help: "The raw image that image-tools works on; one is made without it.")
  var image: String?
  @Option(help: "Only cases of image-tools whose operation or subject has this in it; repeatable.")
  var only: [String] = []
  @Option(help: "The folder for the files of all suites but bitmap-scan.")
  var folder = FileManager.default.temporaryDirectory.path
  @Option(help: "text or json.")
  var output = Output.text
  @Option(help: "Keep the run in this file, as JSON.")
  var save: String?
  @Option(help: "Compare with the run that this file keeps.")
  var compare: String?

  func validate() throws {
    #if DEBUG
    throw ValidationError("this is a debug build, whose times mean nothing: use -c release")
    #else
    let known = [BackupCopy.suite, BitmapScan.suite, ImageIO.suite, ImageTools.suite]
    guard suites.allSatisfy(known.contains) else {
      throw ValidationError("the suites are \(known.joined(separator: ", "))")
    }
    guard rounds > 0 else { throw ValidationError("--rounds must be above 0") }
    guard (bitmap == nil) == (name == nil) else {
      throw ValidationError("--bitmap and --name go together")
    }
    if let density, !(0...1).contains(density) {
      throw ValidationError("--density must be from 0 to 1")
    }
    #endif
  }

  func run() throws {
    let saved = try compare.map {
      try JSONDecoder().decode(Report.self, from: Data(contentsOf: URL(fileURLWithPath: $0)))
    }
    let world = World.threaded()
    let run = RatioRun(self)
    let report = try world.runBlocking { try await run.report(in: world) }
    if output == .json || save != nil {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      let data = try encoder.encode(report)
      if let save { try data.write(to: URL(fileURLWithPath: save)) }
      if output == .json { print(String(decoding: data, as: UTF8.self)) }
    }
    if output == .text {
      print(ReportText.tail(report.rows))
      if let saved { print(ReportComparison.text(report, since: saved)) }
    }
  }

  func includes(_ suite: String) -> Bool { suites.isEmpty || suites.contains(suite) }
}
