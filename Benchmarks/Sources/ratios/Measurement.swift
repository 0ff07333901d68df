/// Measures contenders in turns, round by round, because the machine itself changes its pace.
struct Measurement {
  /// The most samples of each contender.
  var rounds = 15
  /// The time that counts for work that does not wait.
  var time = Stopwatch.Time.wall
  /// A contender that took longer in all has no more samples taken, once it has `minimumRounds`.
  var budgetNanoseconds = 1.5e9
  let minimumRounds = 3
  /// Short operations are repeated until a sample takes about this long.
  let sampleNanoseconds = 1e6

  /// Nanoseconds of one operation, by contender and round; nil where a round was left out.
  func samples(_ contenders: [Contender]) async throws -> [[Double?]] {
    var repetitions: [Int] = []
    for contender in contenders { repetitions.append(try await calibrate(contender)) }
    var samples = contenders.map { _ in [Double?]() }
    var spent = contenders.map { _ in 0.0 }
    for round in 0..<rounds {
      // Not always the same one after the same other.
      for turn in contenders.indices {
        let index = (turn + round) % contenders.count
        guard spent[index] < budgetNanoseconds || round < minimumRounds else {
          samples[index].append(nil)
          continue
        }
        let sample = try await sample(contenders[index], repetitions[index])
        spent[index] += sample * Double(repetitions[index])
        samples[index].append(sample)
      }
    }
    return samples
  }

  private func calibrate(_ contender: Contender) async throws -> Int {
    let first = try await sample(contender, 1)
    if contender.prepare != nil { return 1 }
    let warm = min(first, try await sample(contender, 1))
    return max(1, min(100_000, Int(sampleNanoseconds / max(warm, 1))))
  }

  private func sample(_ contender: Contender, _ repetitions: Int) async throws -> Double {
    try await contender.prepare?()
    // Two readings without an `await` between them are of one thread.
    switch contender.work {
    case .plain(let work):
      let start = Stopwatch.nanoseconds(time)
      for _ in 0..<repetitions { work() }
      return (Stopwatch.nanoseconds(time) - start) / Double(repetitions)
    case .suspending(let work):
      // Requests may go on on another thread.
      let time = time == .wall ? time : .process
      let start = Stopwatch.nanoseconds(time)
      for _ in 0..<repetitions { try await work() }
      return (Stopwatch.nanoseconds(time) - start) / Double(repetitions)
    }
  }
}

extension Contest {
  /// Measures, and sums up.
  func row(suite: String, _ measurement: Measurement) async throws -> Row {
    let samples = try await measurement.samples(contenders)
    let base = contenders.firstIndex { $0.name == yardstick }
    let figures = contenders.indices.map { index in
      let taken = samples[index].compactMap(\.self)
      let ratios = base.map { base in
        zip(samples[index], samples[base]).compactMap { mine, other in
          if let mine, let other { mine / other } else { nil }
        }
      }
      return Figure(
        name: contenders[index].name, minimum: taken.min() ?? 0, median: taken.median,
        rounds: taken.count, ratio: ratios?.median ?? 0)
    }
    var row = Row(
      suite: suite, operation: operation, subject: subject, unit: unit, unitCount: unitCount,
      yardstick: yardstick, figures: figures)
    row.verdict = bar.flatMap { $0.verdict(row) }
    return row
  }
}

extension Bar {
  fileprivate func verdict(_ row: Row) -> Verdict? {
    guard let ours = row.ours else { return nil }
    switch self {
    case .timesYardstick(let limit):
      return Verdict(figure: ours.ratio, limit: limit, unit: "× \(row.yardstick)")
    case .nanoseconds(let limit): return Verdict(figure: ours.median, limit: limit, unit: "ns")
    case .nanosecondsPerUnit(let limit):
      let figure = ours.median / Double(max(1, row.unitCount))
      return Verdict(figure: figure, limit: limit, unit: "ns a \(row.unit)")
    }
  }
}

extension [Double] {
  /// The middle value, or the mean of the middle two; 0 without any.
  var median: Double {
    if isEmpty { return 0 }
    let sorted = sorted()
    let middle = count / 2
    return count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }
}
