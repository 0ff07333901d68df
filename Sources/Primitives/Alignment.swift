extension Int {
  /// Whether the number is a power of two.
  @inlinable public var isPowerOfTwo: Bool { self > 0 && self & (self - 1) == 0 }

  /// The exponent of a power of two; traps for any other number.
  @inlinable
  public var exponentOfTwo: Int {
    precondition(isPowerOfTwo, "\(self) is not a power of two")
    return trailingZeroBitCount
  }

  /// Whether the number is a multiple of `alignment`, a power of two.
  @inlinable
  public func isAligned(to alignment: Int) -> Bool { self & (alignment - 1) == 0 }

  /// The largest multiple of `alignment` (a power of two) that is not above a non-negative number.
  @inlinable
  public func roundedDown(to alignment: Int) -> Int { self & ~(alignment - 1) }

  /// The smallest multiple of `alignment` (a power of two) that is not below a non-negative number.
  ///
  /// Traps on overflow: numbers from a file go through `checkedRoundedUp(to:)`.
  @inlinable
  public func roundedUp(to alignment: Int) -> Int { (self + (alignment - 1)) & ~(alignment - 1) }

  /// `roundedUp(to:)`, or nil when the result is beyond `Int.max`.
  @inlinable
  public func checkedRoundedUp(to alignment: Int) -> Int? {
    let (sum, overflow) = addingReportingOverflow(alignment - 1)
    return overflow ? nil : sum & ~(alignment - 1)
  }

  /// This many, divided by `divisor`, rounded up; both positive or zero dividend.
  ///
  /// Never overflows.
  @inlinable
  public func dividedRoundingUp(by divisor: Int) -> Int {
    self / divisor + (self % divisor == 0 ? 0 : 1)
  }
}
