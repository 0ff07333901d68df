import Primitives
import Testing

@Suite struct ByteRangeTests {
  @Test func roundingOutCoversTheRangeAndRoundingInStaysInside() {
    let range = ByteRange(1000, 5000)
    #expect(range.roundedOut(to: 512) == ByteRange(512, 5120))
    #expect(range.roundedIn(to: 512) == ByteRange(1024, 4608))
    #expect(ByteRange(100, 200).roundedIn(to: 512).isEmpty)
  }

  @Test func aRangeFromAFileWhoseEndOverflowsIsRefused() {
    #expect(ByteRange(checkedOffset: .max - 10, count: 11) == nil)
    #expect(ByteRange(checkedOffset: .max - 10, count: 10)?.upper == .max)
    #expect(ByteRange(checkedOffset: -1, count: 1) == nil)
  }
}
