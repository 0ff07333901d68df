/// Something that an image uses and this engine recognises but cannot handle yet.
///
/// Images with it are refused by name, never misread.
public enum UnsupportedFeature: Hashable, Sendable, CaseIterable {
  /// 16-byte L2 entries, in a check.
  case extendedL2
  /// The legacy AES encryption.
  case aesEncryption
  /// LUKS encryption.
  case luksEncryption
  /// Writing to an image that has internal snapshots.
  case writingWithSnapshots

  /// What messages call it.
  public var name: String {
    switch self {
    case .extendedL2: "extended L2 entries"
    case .aesEncryption: "AES encryption"
    case .luksEncryption: "LUKS encryption"
    case .writingWithSnapshots: "writing to an image with internal snapshots"
    }
  }

  /// The error that refuses the image.
  public var error: Qcow2FormatError {
    Qcow2FormatError(.unsupported, "Not supported yet: \(name)")
  }
}

extension HeaderCluster {
  /// What the header says the image uses and this engine cannot handle when it is opened for
  /// `purpose`; empty for an image that can be opened.
  public func unsupportedFeatures(for purpose: OpenPurpose) -> [UnsupportedFeature] {
    var found: [UnsupportedFeature] = []
    // A check looks at structures alone: where the data is, and whether it can be read, is all one.
    if purpose == .check {
      if header.incompatibleFeatures.contains(.extendedL2) { found.append(.extendedL2) }
      return found
    }
    switch header.encryptionMethod {
    case .none: break
    case .aes: found.append(.aesEncryption)
    case .luks: found.append(.luksEncryption)
    }
    if purpose == .readWrite, header.snapshotCount > 0 { found.append(.writingWithSnapshots) }
    return found
  }
}
