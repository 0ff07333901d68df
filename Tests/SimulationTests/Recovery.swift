import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Synchronization

/// What is demanded of an image after a crash.
///
/// 1. It opens read-only, and neither the engine's own check nor the audit finds a corruption.
/// 2. Every sector holds what was flushed, or something the guest wrote since.
/// 3. Size and backing file are the old or the new. A persistent bitmap that was stored is there,
///    and marks whatever differs from the contents at its beginning, or is flagged.
/// 4. It opens for writing without repair; a write, a flush and closing work, change nothing else,
///    and leave an image of which all this is true again. So does a crash during that.
struct Recovery {
  let scenario: CrashScenario
  let world: World

  /// The number of the write that is made after the crash.
  private static let canary = 0xc0000

  struct Problem: Error {
    let text: String
  }

  /// The demand that `state` does not meet; nil if all is well.
  ///
  /// With `goesOn`, writing after the crash is crashed too.
  func problem(
    of state: CrashState, _ expectation: CrashExpectation, goesOn: Bool
  ) async -> String? {
    do {
      let contents = try await readBack(state.image, expectation)
      let moments = try await writeOn(state.image, contents, expectation)
      guard goesOn else { return nil }
      for moment in moments {
        for next in moment.point.states(.brief(maximum: 3), seed: scenario.seed) {
          _ = try await readBack(next.image, moment.expectation)
        }
      }
      return nil
    } catch let problem as Problem {
      return problem.text
    } catch {
      return "\(error)"
    }
  }

  private func quietDisk(_ image: SparseImage) -> SimulatedDisk {
    SimulatedDisk(image, in: world, schedulingPoints: false)
  }

  // MARK: - Reading

  /// Opens read-only, checks everything, and gives the guest's whole disk.
  private func readBack(
    _ image: SparseImage, _ expectation: CrashExpectation
  ) async throws -> [UInt8] {
    let audit = ImageAudit(image)
    guard audit.corruptions.isEmpty else {
      throw Problem(text: audit.corruptions.prefix(3).joined(separator: "; "))
    }
    let disk = quietDisk(image)
    let fixture = try await ImageFixture(disk, backing: scenario.backingImage, readOnly: true)
    let length = fixture.backend.length
    guard expectation.sizes.contains(length) else { throw Problem(text: "the size is \(length)") }
    if let text = try await fixture.checkDisagrees(with: audit) { throw Problem(text: text) }
    let contents = try await fixture.backend.read(at: 0, count: length)
    let whole = ByteRange(0, length)
    if let difference = expectation.model.verifyAfterCrash(contents, at: whole),
      expectation.otherModel.map({ $0.verifyAfterCrash(contents, at: whole) != nil }) ?? true
    {
      throw Problem(text: "\(difference)")
    }
    try await verifySnapshots(image, fixture, expectation)
    try verifyHeader(fixture, expectation)
    for bitmap in expectation.bitmaps { try verify(bitmap, fixture, contents) }
    try await fixture.close()
    guard disk.count(of: .changes) == 0 else { throw Problem(text: "reading changed the image") }
    return contents
  }

  /// Compares the snapshots with those that may be there.
  private func verifySnapshots(
    _ image: SparseImage, _ fixture: ImageFixture, _ expectation: CrashExpectation
  ) async throws {
    var found: [SnapshotExpectation] = []
    for snapshot in try await fixture.graph.snapshots(of: fixture.node) {
      let then = try await ImageFixture(
        quietDisk(image), backing: scenario.backingImage, readOnly: true, at: .id(snapshot.id))
      let contents = try await then.backend.read(at: 0, count: then.backend.length)
      found.append(SnapshotExpectation(name: snapshot.name, contents: contents))
      try await then.close()
    }
    guard expectation.snapshots.contains(found) else {
      throw Problem(text: "the snapshots are \(found.map(\.name)), or show something else")
    }
  }

  private func verifyHeader(_ fixture: ImageFixture, _ expectation: CrashExpectation) throws {
    let name = (fixture.node.driver as? any BackingFileImage)?.recordedBacking?.name
    guard expectation.backingNames.contains(name) else {
      throw Problem(text: "the backing file is '\(name ?? "none")'")
    }
  }

  private func verify(
    _ expected: BitmapExpectation, _ fixture: ImageFixture, _ contents: [UInt8]
  ) throws {
    guard let bitmap = fixture.node.bitmaps.find(expected.name) else {
      if expected.mustExist { throw Problem(text: "\(expected.name) is gone") }
      return
    }
    if bitmap.isInconsistent { return }
    if let offset = expected.unmarkedChange(in: contents, marked: bitmap.runs) {
      throw Problem(text: "\(expected.name) does not mark the change of byte \(offset)")
    }
  }

  // MARK: - Writing

  /// Opens for writing, writes a little, and looks at all of it again; gives the moments of this.
  private func writeOn(
    _ image: SparseImage, _ contents: [UInt8], _ expectation: CrashExpectation
  ) async throws -> [CrashMoment] {
    let range = canaryRange(contents.count)
    let bytes = WritePattern.bytes(range, write: Self.canary)
    var expectation = expectation
    expectation.model = ModelDisk(SparseImage(contents))
    expectation.otherModel = nil
    expectation.sizes = [contents.count]
    let ticket = expectation.model.beginWrite(range, bytes, number: Self.canary)
    let disk = quietDisk(image)
    let moments = takeMoments(disk, expectation)
    let fixture = try await ImageFixture(disk, backing: scenario.backingImage)
    try await fixture.backend.write(range, from: bytes.span.bytes)
    try await fixture.backend.flush()
    try await fixture.close()
    expectation.model.end(ticket)
    expectation.model.endFlush(expectation.model.beginFlush())
    _ = try await readBack(disk.durableImage, expectation)
    return moments.all
  }

  private func takeMoments(
    _ disk: SimulatedDisk, _ expectation: CrashExpectation
  ) -> Moments {
    let moments = Moments()
    disk.observe { [weak disk] operation, phase in
      guard operation == .sync, phase == .completing, let point = disk?.crashPoint() else { return }
      moments.add(CrashMoment(point: point, expectation: expectation))
    }
    return moments
  }

  private final class Moments: Sendable {
    private let list = Mutex<[CrashMoment]>([])
    var all: [CrashMoment] { list.withLock { $0 } }
    func add(_ moment: CrashMoment) { list.withLock { $0.append(moment) } }
  }

  /// A place that is another for every seed, and no multiple of anything.
  private func canaryRange(_ length: Int) -> ByteRange {
    let start = Int(scenario.seed &* 7919 % UInt64(length))
    return ByteRange(start, min(start + 700, length))
  }
}
