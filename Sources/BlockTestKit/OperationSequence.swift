public import Execution
internal import Primitives

/// Seeded guest operations that visit the places where block layers go wrong: the borders of
/// clusters, parts of them, the end of the disk, and the same few clusters again and again.
///
/// The same generator and shape give the same operations. Writes are numbered from 1.
public struct OperationSequence: Sequence, IteratorProtocol, Sendable {
  /// How often each operation comes, in relation to the others.
  public struct Mix: Sendable {
    /// The weight of writes.
    public var write = 8
    /// The weight of write-zeroes.
    public var writeZeroes = 2
    /// The weight of discards.
    public var discard = 1
    /// The weight of reads.
    public var read = 2
    /// The weight of flushes.
    public var flush = 2

    /// The usual mix.
    public init() {}

    /// A mix of one's own.
    public init(write: Int, writeZeroes: Int, discard: Int, read: Int, flush: Int) {
      self.write = write
      self.writeZeroes = writeZeroes
      self.discard = discard
      self.read = read
      self.flush = flush
    }
  }

  /// What disk the operations are for.
  public struct Shape: Sendable {
    /// The disk's length in bytes.
    public var length: Int
    /// The unit whose borders are of interest: the cluster size.
    public var cluster: Int
    /// The most clusters that one operation covers.
    public var maximumClusters = 3
    /// How many clusters are hot: half of the operations go there.
    public var hotClusters = 4
    /// Ranges begin and end at multiples of this power of two, or at the disk's end.
    public var alignment = 1

    /// A shape.
    public init(length: Int, cluster: Int) {
      precondition(length > 0 && cluster > 0, "operations need a disk with bytes")
      self.length = length
      self.cluster = cluster
    }
  }

  private let shape: Shape
  private let kinds: [Kind]
  private let hot: [Int]
  private var random: SeededGenerator
  private var left: Int
  private var writes = 0

  private enum Kind { case write, writeZeroes, discard, read, flush }

  /// `count` operations.
  public init(
    count: Int, shape: Shape, mix: Mix = Mix(), random: SeededGenerator, firstWrite: Int = 1
  ) {
    self.shape = shape
    self.random = random
    left = count
    writes = firstWrite - 1
    let weights: [(Kind, Int)] = [
      (.write, mix.write), (.writeZeroes, mix.writeZeroes), (.discard, mix.discard),
      (.read, mix.read), (.flush, mix.flush),
    ]
    kinds = weights.flatMap { [Kind](repeating: $0, count: $1) }
    precondition(!kinds.isEmpty, "a mix of operations has one that happens")
    let clusters = shape.length.dividedRoundingUp(by: shape.cluster)
    var hot: [Int] = []
    for _ in 0..<Swift.max(shape.hotClusters, 1) {
      hot.append(Int.random(in: 0..<clusters, using: &self.random))
    }
    self.hot = hot
  }

  /// The next operation.
  public mutating func next() -> GuestOperation? {
    guard left > 0 else { return nil }
    left -= 1
    switch kinds[Int.random(in: 0..<kinds.count, using: &random)] {
    case .write:
      writes += 1
      return .write(range(), number: writes)
    case .writeZeroes: return .writeZeroes(range(), mayUnmap: Bool.random(using: &random))
    case .discard: return .discard(range())
    case .read: return .read(range())
    case .flush: return .flush
    }
  }

  // MARK: - Ranges

  private mutating func range() -> ByteRange {
    let cluster = place() * shape.cluster
    let unit = shape.cluster
    let span = unit * Int.random(in: 1...shape.maximumClusters, using: &random)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: return fit(cluster, cluster + span)
    case 1:
      let start = cluster + within(unit).roundedDown(to: Sector.size)
      return fit(start, start + Sector.size * Int.random(in: 1...4, using: &random))
    case 2: return fit(cluster - within(unit), cluster + 1 + within(span))
    default:
      let start = cluster + within(unit)
      return fit(start, start + 1 + within(unit))
    }
  }

  private mutating func place() -> Int {
    if Bool.random(using: &random) { return hot[Int.random(in: 0..<hot.count, using: &random)] }
    let clusters = shape.length.dividedRoundingUp(by: shape.cluster)
    return Int.random(in: 0..<clusters, using: &random)
  }

  private mutating func within(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }

  /// The range, aligned and inside the disk, and not empty.
  private func fit(_ lower: Int, _ upper: Int) -> ByteRange {
    let lower = Swift.min(Swift.max(lower, 0), shape.length - 1).roundedDown(to: shape.alignment)
    let upper = Swift.max(upper, lower + 1).roundedUp(to: shape.alignment)
    return ByteRange(lower, Swift.min(upper, shape.length))
  }
}
