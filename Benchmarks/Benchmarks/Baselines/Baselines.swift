internal import Benchmark
internal import BitmapWorkloads
internal import DirtyBitmap
internal import Primitives

/// The default size: 4 TiB at 64 KiB, 2^26 granules.
private let size = 4 << 40
private let granularity = 65536

private func bitmap(_ pattern: Pattern) throws -> HierarchicalBitmap {
  let bitmap = try HierarchicalBitmap(size: size, granularity: granularity)
  let bits = pattern.bits(bitmap.granuleCount)
  bitmap.deserialize(from: RawSpan(_unsafeBytes: UnsafeRawBufferPointer(bits.bytes)), atByte: 0)
  return bitmap
}

private func addScan(_ pattern: Pattern) {
  Benchmark("scan \(pattern)") { benchmark in
    let bitmap = try bitmap(pattern)
    benchmark.startMeasurement()
    for _ in benchmark.scaledIterations {
      var sum = 0
      bitmap.forEachRun { sum &+= $0.upper }
      blackHole(sum)
    }
  }
}

private func addMerge(_ pattern: Pattern) {
  Benchmark("merge \(pattern) into half") { benchmark in
    let source = try bitmap(pattern)
    let target = try bitmap(.half)
    benchmark.startMeasurement()
    for _ in benchmark.scaledIterations { try target.merge(source) }
  }
}

private func addSerialise(_ pattern: Pattern) {
  Benchmark("serialise \(pattern)") { benchmark in
    let bitmap = try bitmap(pattern)
    let buffer = FlatBits(bitCount: bitmap.granuleCount)
    benchmark.startMeasurement()
    for _ in benchmark.scaledIterations {
      var target = MutableRawSpan(_unsafeBytes: buffer.bytes)
      bitmap.serialize(atByte: 0, into: &target)
    }
  }
}

private func addPoints() {
  Benchmark("set 65,536 random points", configuration: .init(scalingFactor: .one)) { benchmark in
    let bitmap = try HierarchicalBitmap(size: size, granularity: granularity)
    let points = Pattern.points(bitmap.granuleCount, count: 65536)
    benchmark.startMeasurement()
    for _ in benchmark.scaledIterations {
      for point in points { bitmap.set(ByteRange(offset: point &<< 16, count: 4096)) }
    }
  }
}

let benchmarks: @Sendable () -> Void = {
  Benchmark.defaultConfiguration = .init(
    metrics: [.wallClock, .throughput, .peakMemoryResident], maxDuration: .milliseconds(500))
  for pattern in [Pattern.sparse, .runs, .half, .holes] { addScan(pattern) }
  for pattern in [Pattern.sparse, .half] { addMerge(pattern) }
  for pattern in [Pattern.runs, .half] { addSerialise(pattern) }
  addPoints()
}
