internal import AllocationCounter
internal import BlockLayer

/// What is not one time beside another.
extension ImageIO {
  /// How much faster two tasks on two threads read than one, beside what two threads of bare
  /// `pread` gain.
  func readScalingRow(rounds: Int) async throws -> Row {
    let (disk, bare, offsets) = (disk, bare, Array(offsets.prefix(1 << 15)))
    let halves = [offsets[..<(offsets.count / 2)], offsets[(offsets.count / 2)...]]
    return try await scalingRow(
      "read 4 KiB", unit: "request", unitCount: offsets.count, yardstick: "pread", floor: 0.9,
      rounds: rounds, ours: { try await ImageIO.readAll(disk, offsets[...]) },
      oursInTwo: { try await ImageIO.inTwo(halves) { try await ImageIO.readAll(disk, $0) } },
      theirs: { ImageIO.readAll(bare, offsets[...]) },
      theirsInTwo: { try await ImageIO.inTwo(halves) { ImageIO.readAll(bare, $0) } })
  }

  /// The gain of two tasks over one, of ours divided by the yardstick's.
  func scalingRow(
    _ operation: String, unit: String, unitCount: Int, yardstick: String, floor: Double,
    rounds: Int, ours: @escaping () async throws -> Void,
    oursInTwo: @escaping () async throws -> Void, theirs: @escaping () -> Void,
    theirsInTwo: @escaping () async throws -> Void
  ) async throws -> Row {
    let contenders = [
      Contender(requests: Contender.ours, ours),
      Contender(requests: "lamina, two tasks", oursInTwo),
      Contender(yardstick, theirs),
      Contender(requests: "\(yardstick), two tasks", theirsInTwo),
    ]
    let samples = try await Measurement(rounds: rounds).samples(contenders).map {
      $0.compactMap(\.self)
    }
    let complete = samples.map(\.count).min() ?? 0
    let scalings = (0..<complete).map { round in
      (samples[0][round] / samples[1][round]) / (samples[2][round] / samples[3][round])
    }
    let figures = contenders.indices.map { index in
      Figure(
        name: contenders[index].name, minimum: samples[index].min() ?? 0,
        median: samples[index].median, rounds: samples[index].count,
        ratio: (0..<complete).map { samples[index][$0] / samples[2][$0] }.median)
    }
    var row = Row(
      suite: ImageIO.suite, operation: operation, subject: "2 threads", unit: unit,
      unitCount: unitCount, yardstick: yardstick, figures: figures)
    row.verdict = Verdict(
      figure: scalings.median, limit: floor, unit: "of \(yardstick)'s scaling", isFloor: true)
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

  /// Both parts at the same time.
  static func inTwo<Part: Sendable>(
    _ parts: [Part], _ body: @escaping @Sendable (Part) async throws -> Void
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for part in parts { group.addTask { try await body(part) } }
      try await group.waitForAll()
    }
  }
}
