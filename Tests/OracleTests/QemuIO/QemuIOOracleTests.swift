import QEMUTools
import Testing

/// The binary called as `qemu-io`, beside the real one: random scripts give the same exit status,
/// the same output and errors but for times and rates, and the same disk, whose image has no fault.
@Suite(.serialized, .enabled(if: IOOracle.canRun, "\(QEMUTools.absence)"))
struct QemuIOOracleTests {
  @Test(arguments: 0..<(Oracle.isLong ? 1000 : 20))
  func answersAsQemuIO(seed: Int) throws {
    try IOOracle.compare(seed: seed) { script in
      script.addOptions()
      for _ in 0..<script.pick([1, 2, 4, 6, 9]) {
        switch script.pick(Array(0..<20)) {
        case 0...3: script.addRead()
        case 4...7: script.addWrite()
        case 8: script.addCompressed()
        case 9, 10: script.addVector()
        case 11, 12: script.addAsynchronous()
        case 13: script.addDiscard()
        case 14: script.addTruncate()
        case 15, 16: script.addInspection()
        case 17: script.addOpening()
        default: script.addMistake()
        }
      }
      if script.chance(2) { script.add("map") }
    }
  }
}
