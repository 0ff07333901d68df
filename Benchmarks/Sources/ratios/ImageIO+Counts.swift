internal import AllocationCounter
internal import BlockLayer

/// What is not one time beside another.
extension ImageIO {
  /// How much faster two tasks on two threads read than one, beside what two threads of bare
  /// `pread` gain.
  func scalingRow(rounds: Int) async throws -> Row {
    let measurement = Measurement(rounds: rounds)
    let (disk, bare, offsets) = (disk, bare, Array(offsets.prefix(1 << 15)))
    let names = [Contender.ours, "lamina, two tasks", "pread", "pread, two tasks"]
    let contenders = [
      Contender(requests: names[0]) { try await ImageIO.readAll(disk, offsets[...]) },
      Contender(requests: names[1]) {
        try await ImageIO.inHalves(offsets) { try await ImageIO.readAll(disk, $0) }
      },
      Contender(names[2]) { ImageIO.readAll(bare, offsets[...]) },
      Contender(requests: names[3]) {
        try await ImageIO.inHalves(offsets) { ImageIO.readAll(bare, $0) }
      },
    ]
    let samples = try await measurement.samples(contenders).map { $0.compactMap(\.self) }
    let complete = samples.map(\.count).min() ?? 0
    let scalings = (0..<complete).map { round in
      (samples[0][round] / samples[1][round]) / (samples[2][round] / samples[3][round])
    }
    let figures = names.indices.map { index in
      Figure(
        name: names[index], minimum: samples[index].min() ?? 0, median: samples[index].median,
        rounds: samples[index].count,
        ratio: (0..<complete).map { samples[index][$0] / samples[2][$0] }.median)
    }
    var row = Row(
      suite: ImageIO.suite, operation: "read 4 KiB", subject: "2 threads", unit: "request",
      unitCount: offsets.count, yardstick: "pread", figures: figures)
    row.verdict = Verdict(
      figure: scalings.median, limit: 0.85, unit: "of pread's scaling", isFloor: true)
    return row
  }

  /// How often memory is asked for while cached clusters are read.
  func allocationRow() async throws -> Row {
    let count = 10_000
    for offset in nextOffsets(count, for: "allocations") {
      try await ImageIO.read(disk, offset, small)
    }
    let requests = nextOffsets(count, for: "allocations")
    let before = allocation_count()
    for offset in requests { try await ImageIO.read(disk, offset, small) }
    let made = allocation_count() - before
    var row = Row(
      suite: ImageIO.suite, operation: "allocations", subject: "4 KiB reads", unit: "request",
      unitCount: count, yardstick: "", figures: [])
    if allocation_is_counted() != 0 {
      // What other threads do once in a while is no allocation a request.
      row.verdict = Verdict(
        figure: Double(made) / Double(count), limit: 0.01, unit: "a request (\(made) in \(count))")
    }
    return row
  }

  private static func readAll(_ disk: BlockBackend, _ offsets: ArraySlice<Int>) async throws {
    let buffer = RequestBuffer(4096)
    for offset in offsets { try await read(disk, offset, buffer) }
  }

  private static func readAll(_ file: BareFile, _ offsets: ArraySlice<Int>) {
    let buffer = RequestBuffer(4096)
    for offset in offsets { file.read(offset, into: buffer.bytes) }
  }

  private static func inHalves(
    _ offsets: [Int], _ body: @escaping @Sendable (ArraySlice<Int>) async throws -> Void
  ) async throws {
    let middle = offsets.count / 2
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await body(offsets[..<middle]) }
      group.addTask { try await body(offsets[middle...]) }
      try await group.waitForAll()
    }
  }
}
