import BlockLayer
import BlockTestKit
import DirtyBitmap
import Execution
import Primitives
import Qcow2

/// Looks at what a crash has left of a small image.
///
/// 1. It opens, and neither the engine's own check nor the audit finds a corruption; reading
///    changes nothing.
/// 2. Contents, snapshots, bitmaps, size and backing file's name are those of one allowed state.
/// 3. It opens for writing without repair; writing a little and closing works and changes nothing
///    else; after leaks were repaired nothing is left to be found.
struct WorkloadJudge {
  let setting: WorkloadSetting
  let base: SparseImage?
  let world: World

  private struct Problem: Error {
    let text: String
  }

  /// What is wrong with `image`; nil when all is well.
  ///
  /// `goesOn`: demand 3 too.
  func problem(of image: SparseImage, _ states: [GuestState], goesOn: Bool) async -> String? {
    do {
      let found = try await read(image)
      let mismatches = states.map { $0.mismatch(found) }
      guard let index = mismatches.firstIndex(where: { $0 == nil }) else {
        return "in no allowed state: " + mismatches.compactMap { $0 }.joined(separator: " | ")
      }
      if goesOn { try await writeOn(image, found, states[index]) }
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

  private func read(_ image: SparseImage) async throws -> FoundImage {
    let audit = ImageAudit(image)
    guard audit.corruptions.isEmpty else {
      throw Problem(text: "audit: " + audit.corruptions.prefix(3).joined(separator: "; "))
    }
    let disk = quietDisk(image)
    let fixture = try await ImageFixture(disk, backing: base, readOnly: true)
    if let text = try await fixture.checkDisagrees(with: audit) { throw Problem(text: text) }
    var found = FoundImage(
      contents: try await fixture.backend.read(at: 0, count: fixture.backend.length))
    found.backingName = (fixture.node.driver as? any BackingFileImage)?.recordedBacking?.name
    for bitmap in fixture.node.bitmaps.all {
      found.bitmaps[bitmap.name ?? ""] = .some(bitmap.isInconsistent ? nil : bitmap.runs)
    }
    let names = try await fixture.graph.snapshots(of: fixture.node).map(\.name)
    try await fixture.close()
    for name in names {
      let view = try await ImageFixture(disk, backing: base, readOnly: true, at: .name(name))
      found.snapshots[name] = try await view.backend.read(at: 0, count: view.backend.length)
      try await view.close()
    }
    guard disk.count(of: .changes) == 0 else { throw Problem(text: "reading changed the image") }
    return found
  }

  // MARK: - Going on

  private func writeOn(
    _ image: SparseImage, _ found: FoundImage, _ state: GuestState
  ) async throws {
    let disk = quietDisk(image)
    let fixture = try await ImageFixture(disk, backing: base)
    let range = ByteRange(offset: 2 * setting.clusterSize + 77, count: setting.clusterSize)
    let bytes = WritePattern.bytes(range, write: 0xc0000)
    try await fixture.backend.write(bytes, at: range.lower)
    try await fixture.backend.flush()
    try await fixture.close()
    var expected = state
    var contents = found.contents
    contents.replaceSubrange(range.lower..<range.upper, with: bytes)
    expected.model = ModelDisk(SparseImage(contents))
    let after = try await read(disk.durableImage)
    if let mismatch = expected.mismatch(after) {
      throw Problem(text: "after going on: \(mismatch)")
    }
    try await repairLeaks(disk.durableImage, after)
  }

  private func repairLeaks(_ image: SparseImage, _ found: FoundImage) async throws {
    let disk = quietDisk(image)
    let fixture = try await ImageFixture(disk, backing: nil, forCheck: true)
    guard let checkable = fixture.node.driver as? any CheckableImage else { return }
    let result = try await checkable.repair(.leaks)
    try await fixture.close()
    guard result.remaining.leaks == 0, result.remaining.corruptions == 0 else {
      throw Problem(
        text: "after a repair of leaks: \(result.remaining.findings.prefix(3).map(\.message))")
    }
    let after = try await read(disk.durableImage)
    guard after.contents == found.contents, after.snapshots == found.snapshots else {
      throw Problem(text: "a repair of leaks changed data")
    }
  }
}
