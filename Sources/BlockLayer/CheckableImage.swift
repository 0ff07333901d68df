/// A driver that can tell whether its image is consistent.
public protocol CheckableImage: BlockDriver {
  /// Walks all references of the image, read-only. Throws when the check could not be completed.
  func check() async throws(BlockError) -> ImageCheck

  /// Puts right what a check finds, as far as `repair` goes, durably, and checks once more.
  ///
  /// A crash or an error in the middle leaves the image no worse than it was; the repair can be
  /// done again. Throws `readOnly` for an image whose file is, and `unsupported` for one that was
  /// not opened for a check, since what is in memory of it would be stale.
  func repair(_ repair: ImageRepair) async throws(BlockError) -> ImageRepairResult
}

/// How far a repair goes.
///
/// Source: `qemu-img check -r`.
public enum ImageRepair: Sendable, Hashable {
  /// Leaked clusters are freed; nothing else is changed.
  case leaks
  /// Also what is corrupt is put right, where that can be done without losing data.
  case all
}

/// What a repair did, and what is left.
public struct ImageRepairResult: Sendable {
  /// What was repaired, and what was found meanwhile, in the order of the work.
  public var findings: [ImageCheck.Finding] = []
  /// The number of leaked clusters that were freed.
  public var leaksFixed = 0
  /// The number of corruptions that are gone.
  public var corruptionsFixed = 0
  /// The check of the image as it is now.
  public var remaining = ImageCheck()

  /// An empty result.
  public init() {}
}

/// What a check found.
public struct ImageCheck: Sendable {
  /// One finding.
  public struct Finding: Sendable, Hashable {
    /// How bad it is.
    public enum Kind: Sendable, Hashable {
      /// Space is wasted; no data is in danger.
      case leak
      /// Data may be wrong, or the next write may make it so.
      case corruption
      /// Something could not be checked: nothing can be said about it.
      case checkError
      /// Something was put right; it is in no counter but those of repairs.
      case repaired
      /// Nothing is in danger, but worth knowing; it is in no counter.
      case notice
    }
    /// How bad it is.
    public let kind: Kind
    private let text: any FindingText

    /// What and where, in one line.
    ///
    /// Made when it is asked for: of ten thousand findings mostly the counters are looked at.
    public var message: String { text.message }

    /// Makes a finding.
    public init(_ kind: Kind, _ message: String) {
      self.init(kind, message as any FindingText)
    }

    /// Makes a finding that is put into words later.
    package init(_ kind: Kind, _ text: any FindingText) {
      self.kind = kind
      self.text = text
    }

    /// Whether both say the same.
    public static func == (left: Finding, right: Finding) -> Bool {
      left.kind == right.kind && left.message == right.message
    }

    /// Feeds what `==` compares.
    public func hash(into hasher: inout Hasher) {
      hasher.combine(kind)
      hasher.combine(message)
    }
  }

  /// The findings in the order of the walk, check errors last.
  ///
  /// Above a stated limit only the counters go on.
  public var findings: [Finding] = []
  /// Whether every reference could be followed.
  ///
  /// Where not, clusters that look leaked may be in use: nothing must be freed.
  public var isComplete = true
  /// The number of leaked clusters.
  public var leaks = 0
  /// The number of corruptions.
  public var corruptions = 0
  /// The number of places that could not be checked.
  public var checkErrors = 0
  /// The end of the last cluster in use, in bytes of the file.
  public var imageEndOffset = 0
  /// The number of guest clusters.
  public var totalClusters = 0
  /// The number of guest clusters with a host cluster of their own.
  public var allocatedClusters = 0
  /// The number of those that do not follow their predecessor on the host.
  public var fragmentedClusters = 0
  /// The number of compressed clusters.
  public var compressedClusters = 0

  /// An empty result.
  public init() {}
}

/// What a finding can be put into words from.
package protocol FindingText: Sendable {
  /// The finding in one line.
  var message: String { get }
}

extension String: FindingText {
  /// The text itself.
  package var message: String { self }
}
