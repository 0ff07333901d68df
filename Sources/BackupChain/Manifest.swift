/// What a chain knows of itself: the contents of `chain.json`.
///
/// All but the digests, times and reasons can be rebuilt from the files.
public struct Manifest: Codable, Equatable, Sendable {
  /// The name of the manifest's file.
  public static let fileName = "chain.json"
  /// The version that this library writes, and the newest it reads.
  public static let currentVersion = 1
  static let formatName = "lamina backup chain"

  /// Always `lamina backup chain`.
  public var format = Manifest.formatName
  /// The version of the form.
  public var version = Manifest.currentVersion
  /// The chain's identity: 16 hexadecimal digits.
  public var chain: String
  /// The disk of the last run, if known.
  public var disk: Disk?
  /// The backups, in ascending order of their numbers.
  public var backups: [Backup] = []

  /// Which disk was backed up last.
  public struct Disk: Codable, Equatable, Sendable {
    /// The path that was given.
    public var path: String
  }

  /// One backup.
  public struct Backup: Codable, Equatable, Sendable {
    /// What it stands on.
    public enum Kind: String, Codable, Sendable {
      /// Nothing: it begins a segment.
      case full
      /// The backup before it.
      case incremental
    }

    /// Its number, from 0.
    public var number: Int
    /// Whether it stands alone.
    public var kind: Kind
    /// The identity of the run that made it: 16 hexadecimal digits.
    public var run: String
    /// The disk's length in bytes.
    public var size: Int
    /// The bytes that the job went over, if known.
    public var copied: Int?
    /// The bytes of data that the file has itself, in blocks of 64 KiB, if known.
    public var stored: Int?
    /// When it was made, in seconds since 1970 (UTC), if known.
    public var time: Int?
    /// Why it is a full one, if known.
    public var reason: String?
    /// The digest of what the file has itself: see `LayerDigest`; nil when none was taken.
    public var digest: String?
    /// What a prune is about to put in the file's place; nil at other times.
    var replacement: Replacement?

    /// A full backup that shows what an incremental one shows.
    struct Replacement: Codable, Equatable, Sendable {
      var copied: Int?
      var stored: Int?
      var digest: String?
    }

    /// What the entry says once the replacement has its name.
    var replaced: Backup {
      var backup = self
      guard let replacement else { return backup }
      backup.replacement = nil
      backup.kind = .full
      backup.reason = "those below it were pruned"
      backup.copied = replacement.copied
      backup.stored = replacement.stored
      backup.digest = replacement.digest
      return backup
    }

    /// The file's name.
    public var file: String { BackupChain.fileName(number) }
  }

  /// A chain without backups.
  init(chain: String) { self.chain = chain }

  /// The last backup.
  public var last: Backup? { backups.last }

  /// The place of backup `number` in `backups`.
  func index(of number: Int) -> Int? { backups.firstIndex { $0.number == number } }

  /// The backups that backup `number` consists of: from the full one of its segment up to it.
  func segment(upTo number: Int) -> ArraySlice<Backup> {
    guard let end = index(of: number) else { return [] }
    let start = backups[...end].lastIndex { $0.kind == .full } ?? 0
    return backups[start...end]
  }

  /// What is wrong with values that were read, if anything.
  var problem: String? {
    if format != Manifest.formatName { return "it is no manifest of a backup chain" }
    if !TrackingName.isIdentity(chain) { return "its 'chain' is no identity" }
    for (index, backup) in backups.enumerated() {
      if backup.number < 0 || index > 0 && backups[index - 1].number >= backup.number {
        return "its backups are not in order"
      }
      if !TrackingName.isIdentity(backup.run) { return "backup \(backup.number) has no identity" }
      if backup.size < 0 || backup.copied ?? 0 < 0 || backup.stored ?? 0 < 0 {
        return "backup \(backup.number) has no size"
      }
    }
    return nil
  }
}
