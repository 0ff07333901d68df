public import BlockLayer
internal import DirtyBitmap
internal import Execution

/// What of an existing image shall become different; nil leaves a property as it is (qemu-img's
/// manual page, "amend").
public struct AmendOptions: Hashable, Sendable {
  /// The version of the format.
  public var version: FormatVersion?
  /// The width of refcounts in bits.
  public var refcountBits: Int?
  /// Whether refcount updates may be postponed.
  public var hasLazyRefcounts: Bool?
  /// The name of the external data file, which the image must have already.
  public var dataFileName: EmbeddedName?
  /// Whether the external data file stays byte for byte what the guest sees.
  ///
  /// That promise can only be given up.
  public var isDataFileRaw: Bool?
  /// What the caller takes for the image's backing file, which does not change: where it names
  /// another, nothing changes.
  public var statedBacking: StatedBacking?
  /// The virtual size in bytes; no smaller than it is.
  public var virtualSize: Int?

  /// The name and the format of a backing file, as far as there are any.
  public struct StatedBacking: Hashable, Sendable {
    /// Its name, as it is recorded.
    public let name: String?
    /// Its format.
    public let format: String?

    /// Makes the statement.
    public init(name: String?, format: String?) { (self.name, self.format) = (name, format) }
  }

  /// Changes nothing.
  public init() {}
}

extension BlockNode {
  /// Changes properties of the qcow2 image in the node; what can be refused is refused before
  /// anything is changed.
  ///
  /// Each property changes in one atomic step: after a crash it is the old or the new. No request
  /// may be under way. Throws `unsupported` and `invalidArgument` with QEMU's texts.
  public func amend(_ options: AmendOptions) async throws(BlockError) {
    guard let image = driver as? Qcow2Driver else {
      throw BlockError(
        .unsupported, "Format driver '\(driver.driverName)' does not support option amendment",
        node: name)
    }
    guard !isReadOnly else {
      throw BlockError(.readOnly, "Block node is read-only", node: name)
    }
    do throws(BlockError) {
      try image.checkAmendable(options)
      try checkChangeable(to: options.virtualSize ?? length)
      if options.version == .v2 {
        try await image.checkDowngradable(
          options, hasBitmaps: bitmaps.all.contains { $0.isPersistent })
      }
      try await image.structure.withLock { () async throws(BlockError) in
        try await image.amendProperties(options)
      }
    } catch {
      throw error.at(node: name)
    }
    if let size = options.virtualSize { try await resize(to: size) }
    if options.version == .v2 {
      do throws(BlockError) {
        try await image.structure.withLock { () async throws(BlockError) in
          try await image.downgrade()
        }
      } catch {
        throw error.at(node: name)
      }
    }
  }
}
