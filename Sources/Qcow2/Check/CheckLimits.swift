internal import BlockLayer

/// What bounds the work and the memory of a check, each with its reason.
///
/// A check is linear in the bytes that the image's tables really hold: an L2 table is read once
/// however often it is named, and holes are not read. These bounds are for what a damaged or
/// hostile image can make larger than that.
package struct CheckLimits: Sendable {
  /// Findings kept in words: a person reads the first few, and each takes some 150 bytes.
  package var findings = 10_000
  /// Bytes of tables that may turn out to be all zeros before the file is asked for holes first.
  ///
  /// A sound image rarely has any, so that it is spared the questions.
  package var zeroBytes = 32 << 20
  /// Clusters of tables that lie in holes: a count of entries in the file can claim many of them
  /// at no cost, and each takes memory here.
  package var hollowClusters = 1 << 20
  /// Bytes of tables that stand on clusters where another table stands already.
  ///
  /// Each such byte is read again, and structures may be laid over each other many times.
  package var repeatedBytes = 16 << 20
  /// The largest LUKS header: QEMU's has 2 MiB.
  package var encryptionHeaderBytes = 64 << 20

  /// The limits of a usual check.
  package init() {}
}

/// Why a walk ends before it has seen everything.
enum CheckStop: Error {
  /// The image is made to waste time and memory.
  case implausible(String)
  /// The calling task was cancelled.
  case cancelled
  /// A repair could not be written.
  case writing(BlockError)
}

/// What a walk has spent of its limits.
struct CheckBudget {
  let limits: CheckLimits
  private var zeroBytes = 0
  private var hollowClusters = 0
  private var repeatedBytes = 0

  init(_ limits: CheckLimits) { self.limits = limits }

  /// Whether the file should be asked for holes before a table is read.
  var asksForHoles: Bool { zeroBytes >= limits.zeroBytes }

  /// Notes that a piece of a table was all zeros.
  mutating func addZeros(_ byteCount: Int) { zeroBytes = zeroBytes.addingClamped(byteCount) }

  /// Notes clusters of a table that were claimed, and are all zeros.
  mutating func addHollow(_ count: Int) throws(CheckStop) {
    if hollowClusters > limits.hollowClusters {
      throw .implausible("more than \(limits.hollowClusters) clusters of tables are empty")
    }
    hollowClusters = hollowClusters.addingClamped(count)
  }

  /// Notes that a piece of a table is one of another table too.
  ///
  /// The one that goes beyond the limit is let through: it may be as large as a cluster.
  mutating func addRepeated(_ byteCount: Int) throws(CheckStop) {
    if byteCount > 0, repeatedBytes > limits.repeatedBytes {
      throw .implausible("its tables overlap in more than \(limits.repeatedBytes) bytes")
    }
    repeatedBytes = repeatedBytes.addingClamped(byteCount)
  }
}
