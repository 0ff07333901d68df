/// Bits an opener must know all of: header bytes 72–79, version 3 (`incompatible_features`).
public struct IncompatibleFeatures: OptionSet, Hashable, Sendable {
  /// The 64 bits of the field.
  public let rawValue: UInt64

  /// Makes the set that a field holds.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bit 0: refcounts may be stale; repair before the first allocation.
  public static let dirty = IncompatibleFeatures(rawValue: 1 << 0)
  /// Bit 1: metadata is known to be inconsistent; do not write.
  public static let corrupt = IncompatibleFeatures(rawValue: 1 << 1)
  /// Bit 2: guest data is in another file.
  public static let externalDataFile = IncompatibleFeatures(rawValue: 1 << 2)
  /// Bit 3: header byte 104 names a codec other than deflate.
  public static let compressionType = IncompatibleFeatures(rawValue: 1 << 3)
  /// Bit 4: L2 entries have 16 bytes, with 32 subclusters.
  public static let extendedL2 = IncompatibleFeatures(rawValue: 1 << 4)
  /// Every bit that has a meaning in this version of the format.
  public static let known: IncompatibleFeatures = [
    .dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2,
  ]
}

/// Bits an opener may ignore and must keep: header bytes 80–87, version 3 (`compatible_features`).
public struct CompatibleFeatures: OptionSet, Hashable, Sendable {
  /// The 64 bits of the field.
  public let rawValue: UInt64

  /// Makes the set that a field holds.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bit 0: refcount updates may be postponed under the dirty bit.
  public static let lazyRefcounts = CompatibleFeatures(rawValue: 1 << 0)
}

/// Bits a writer must clear unless it keeps their promise: header bytes 88–95, version 3
/// (`autoclear_features`).
public struct AutoclearFeatures: OptionSet, Hashable, Sendable {
  /// The 64 bits of the field.
  public let rawValue: UInt64

  /// Makes the set that a field holds.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Bit 0: the bitmaps extension agrees with the data.
  public static let bitmaps = AutoclearFeatures(rawValue: 1 << 0)
  /// Bit 1: the external data file is byte for byte what the guest sees.
  public static let rawExternalData = AutoclearFeatures(rawValue: 1 << 1)
  /// Every bit that has a meaning in this version of the format.
  public static let known: AutoclearFeatures = [.bitmaps, .rawExternalData]
}
