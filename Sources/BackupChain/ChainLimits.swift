/// What a chain's numbers may be: more is damage.
enum ChainLimits {
  /// The highest number of a backup: one a second for thirty years.
  static let maximumNumber = 1_000_000_000
  /// The most bytes that a manifest speaks of: 64 PiB, so that sums of them stay numbers.
  static let maximumByteCount = 1 << 56
  /// A manifest that is longer is none: a million backups need less.
  static let maximumManifestByteCount = 512 << 20
}
