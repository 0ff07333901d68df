public import BlockLayer
internal import Primitives

extension BlockError {
  /// The error of an image whose bytes contradict the format, or that uses what this engine does
  /// not have.
  public init(_ error: Qcow2FormatError) {
    let code: BlockError.Code =
      switch error.code {
      case .unsupported: .unsupported
      case .noSpace: .noSpace
      case .invalidOption: .invalidArgument
      default: .invalidImage
      }
    self.init(code, error.message, cause: error)
  }

  /// Metadata found wrong while the image is in use.
  static func corruption(_ message: String) -> BlockError {
    BlockError(
      .corrupt, "qcow2: \(message); check the image with 'lamina check' before writing to it")
  }

  /// Something that this engine can recognise but not handle.
  static func unsupported(_ feature: UnsupportedFeature) -> BlockError {
    BlockError(feature.error)
  }
}

/// Runs a piece of pure parsing, and gives its error the node boundary's type.
func parsing<T: ~Copyable>(_ body: () throws(Qcow2FormatError) -> T) throws(BlockError) -> T {
  do { return try body() } catch { throw BlockError(error) }
}
