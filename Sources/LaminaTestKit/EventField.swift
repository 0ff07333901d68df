/// What a number in an event may be: a literal, a range, or anything.
public struct EventField: Sendable, ExpressibleByIntegerLiteral, CustomStringConvertible {
  private let range: ClosedRange<Int>?

  /// Exactly this number.
  public init(integerLiteral value: Int) { range = value...value }

  private init(range: ClosedRange<Int>?) { self.range = range }

  /// Any number.
  public static let any = EventField(range: nil)

  /// Exactly this number.
  public static func exactly(_ value: Int) -> EventField { EventField(range: value...value) }

  /// A number of this range.
  public static func within(_ range: ClosedRange<Int>) -> EventField { EventField(range: range) }

  func allows(_ value: Int) -> Bool { range?.contains(value) ?? true }

  /// The number, the range, or `any`.
  public var description: String {
    guard let range else { return "any" }
    return range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)…\(range.upperBound)"
  }
}
