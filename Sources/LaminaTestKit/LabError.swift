/// What a lab found that should not be: thrown, so that every testing library shows it.
public struct LabError: Error, Sendable, CustomStringConvertible {
  /// What is wrong, and where.
  public let description: String

  /// Makes an error.
  public init(_ description: String) { self.description = description }
}
