/// Something that an image uses and this engine recognises but cannot handle yet.
///
/// Images with it are refused by name, never misread.
public enum UnsupportedFeature: Hashable, Sendable, CaseIterable {
  /// The legacy AES encryption.
  case aesEncryption
  /// LUKS encryption.
  case luksEncryption

  /// What messages call it.
  public var name: String {
    switch self {
    case .aesEncryption: "AES encryption"
    case .luksEncryption: "LUKS encryption"
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
    if purpose == .check { return found }
    switch header.encryptionMethod {
    case .none: break
    case .aes: found.append(.aesEncryption)
    case .luks: found.append(.luksEncryption)
    }
    return found
  }
}
