/// Numbers as qemu-io reads them.
struct IONumber {
  /// Where a warning goes.
  let complain: (String) -> Void

  /// A size or an offset in bytes.
  func size(_ text: String) throws(IOFailure) -> Int {
    var isDeprecated = false
    let reading = NumberText.size(text, isDeprecated: &isDeprecated)
    if isDeprecated {
      complain("warning: Using a multiplier suffix on hex numbers is deprecated: \(text)")
    }
    switch reading {
    case .number(let bits):
      if let size = Int(exactly: bits) { return size }
      throw .said("Parsing error: argument too large -- \(text)")
    case .tooLarge: throw .said("Parsing error: argument too large -- \(text)")
    case .none:
      throw .said(
        "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- \(text)")
    }
  }

  /// A byte that requests write or expect.
  static func pattern(_ text: String) throws(IOFailure) -> UInt8 {
    guard let value = NumberText.integer(text, in: 0...255) else {
      throw .said("\(text) is not a valid pattern byte")
    }
    return UInt8(value)
  }
}
