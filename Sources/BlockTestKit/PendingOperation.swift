public import Primitives

/// A change that a simulated disk has been asked for and that no sync has made durable yet.
public struct PendingOperation: Sendable {
  /// What is known of the change.
  public enum Progress: Sendable, Hashable {
    /// It has been submitted and has not returned.
    case inFlight
    /// It has returned; the next sync makes it durable.
    case completed
    /// It failed: it may be on the disk or not until the next successful sync, which finds that it
    /// is not.
    case failed
    /// It was completed before a sync that failed: no later sync makes it durable, as the host has
    /// dropped what it could not write.
    case orphaned
  }

  /// The operation's number: submission order, counting from 1.
  public let number: Int
  /// What was asked for.
  public let operation: DiskOperation
  /// The bytes it changes.
  public let range: ByteRange
  /// What is known of it.
  public internal(set) var progress = Progress.inFlight
  /// The length that the file got by it, in bytes; nil where it kept its length.
  public let newLength: Int?

  /// The sectors' contents after it, each as a reader of the disk would have seen it.
  var sectors: [SectorVersion]
  /// Completion order; 0 until it completes.
  var completion = 0

  struct SectorVersion: Sendable {
    let number: Int
    let content: SectorContent
  }
}

extension PendingOperation: CustomStringConvertible {
  /// The operation in words: `#12 write 0x400..<0x600 (completed)`.
  public var description: String { "#\(number) \(operation) \(range) (\(progress))" }
}

/// The operations since the last sync, in submission order, which is also the order in which
/// readers have seen them.
///
/// For every sector that some of them changed, the log has the sector's successive contents. A
/// crash leaves any of these, or what is durable: a sector is atomic, and sectors know no order.
struct PendingLog: Sendable {
  private(set) var operations: [PendingOperation] = []
  private(set) var lastNumber = 0
  private(set) var lastCompletion = 0

  var isEmpty: Bool { operations.isEmpty }

  /// A number for one operation.
  mutating func nextNumber() -> Int {
    lastNumber += 1
    return lastNumber
  }

  /// Adds an operation that has changed `touched` sectors, which now are as in `image`.
  mutating func add(
    _ number: Int, _ change: DiskChange, _ touched: [Int], newLength: Int?, in image: SparseImage
  ) {
    operations.append(
      PendingOperation(
        number: number, operation: change.operation, range: change.range, newLength: newLength,
        sectors: touched.map { .init(number: $0, content: image.sector($0)) }))
  }

  /// The sectors that `change` will give contents which they have not had since the last sync.
  ///
  /// For zeros these are the ones not zero now, or not at some time since.
  func sectors(touchedBy change: DiskChange, in image: SparseImage) -> [Int] {
    let window = Sector.numbers(in: change.range)
    guard change.operation != .write else { return Array(window) }
    var numbers = Set(image.nonZeroSectors(in: change.range))
    for operation in operations {
      numbers.formUnion(operation.sectors.map(\.number).filter(window.contains))
    }
    return numbers.sorted()
  }

  /// The operation has returned.
  mutating func complete(_ number: Int, as progress: PendingOperation.Progress) {
    lastCompletion += 1
    for index in operations.indices where operations[index].number == number {
      operations[index].progress = progress
      operations[index].completion = lastCompletion
    }
  }

  /// A sync that was submitted after completion number `mark` has failed.
  mutating func orphan(completedUpTo mark: Int) {
    for index in operations.indices {
      let operation = operations[index]
      if operation.progress == .completed, operation.completion <= mark {
        operations[index].progress = .orphaned
      }
    }
  }

  /// A sync that was submitted after completion number `mark` has succeeded: puts into `durable`
  /// what it made durable, and forgets that.
  mutating func settle(_ durable: inout SparseImage, completedUpTo mark: Int) {
    let isSettled = operations.map { $0.progress == .completed && $0.completion <= mark }
    var lastSettled: [Int: Int] = [:]
    var lastLength = -1
    for (index, operation) in operations.enumerated() where isSettled[index] {
      for sector in operation.sectors {
        durable.setSector(sector.number, sector.content)
        lastSettled[sector.number] = index
      }
      if operation.newLength != nil { lastLength = index }
    }
    if lastLength >= 0, let length = operations[lastLength].newLength {
      durable.cut(to: length)
    }
    operations = operations.enumerated().compactMap { index, operation in
      let hasFailed = operation.progress == .failed && operation.completion <= mark
      guard !isSettled[index], !hasFailed else { return nil }
      return operation.without(
        { lastSettled[$0, default: -1] > index }, length: lastLength > index)
    }
  }
}

extension PendingOperation {
  /// The operation without the parts that a later, durable one has covered; nil if nothing is left.
  ///
  /// An operation on its way stays: it must be found when it completes.
  fileprivate func without(_ isCovered: (Int) -> Bool, length isLengthCovered: Bool) -> Self? {
    let left = sectors.filter { !isCovered($0.number) }
    let newLength = isLengthCovered ? nil : newLength
    guard progress == .inFlight || !left.isEmpty || newLength != nil else { return nil }
    var copy = PendingOperation(
      number: number, operation: operation, range: range, newLength: newLength, sectors: left)
    copy.progress = progress
    copy.completion = completion
    return copy
  }
}
