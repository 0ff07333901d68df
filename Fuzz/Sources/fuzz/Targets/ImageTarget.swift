import BlockLayer
import Execution
import Primitives
import Qcow2

extension FuzzTarget {
  /// A damaged image, opened, and a guest at work on it.
  ///
  /// Of an image that a check calls sound, the guest must see what it wrote, and the check must
  /// call it sound afterwards. Of others nothing is asked but an end: no trap, no hang.
  static let image = FuzzTarget(
    name: "image", summary: "a damaged image, and a guest at work on it", seeds: seedsOfImages
  ) { bytes in
    var reader = InputReader(bytes)
    let image = SmallImage.all[Int(reader.byte()) % SmallImage.all.count]
    let damaged = Damage.apply(&reader, to: image)
    let rest = reader
    // More steps than any script needs: a loop without an end is one that traps.
    let world = World.simulated(seed: 1, stepLimit: 300_000)
    world.runBlocking {
      guard let before = await viewBefore(damaged, image, world) else { return }
      let dataFile = image.hasDataFile ? MemoryDriver(length: 0, growsOnWrite: true) : nil
      guard
        let opened = try? await Opened.open(
          damaged, of: image, in: world, readOnly: false, dataFile: dataFile)
      else { return }
      let check = await Opened.check(opened.disk, in: world)
      var script = GuestScript(rest, on: opened, seeing: before)
      await script.run()
      let isClosed = (try? await opened.close()) != nil
      guard let check, check.isSound, isClosed else { return }
      await verify(opened.disk, image, script.view, world, dataFile, hadLeaks: check.leaks > 0)
    }
  }

  /// Some damage of each kind, and all kinds of requests.
  static func seedsOfImages() -> [[UInt8]] {
    let script: [UInt8] = [
      0, 3, 5, 9, 3, 40, 4, 5, 16, 2, 7, 0, 20, 9, 1, 30, 1, 64, 20, 5, 6, 0, 0, 131, 66, 12, 136,
      0,
      3, 0, 120, 9, 7,
    ]
    return SmallImage.all.indices.flatMap { index in
      let kind = UInt8(index)
      return [
        [kind, 0, 0] + script,
        [kind, 1, 0x61, 0, 3, 0, 0] + script,  // the L1 table
        [kind, 2, 0x62, 0, 0x80, 9, 0xd4, 0, 3, 0] + script,  // an L2 table
        [kind, 1, 0x25, 0, 8, 0, 7, 0] + script,  // a refcount
        [kind, 1, 0xc0, 24, 5, 0] + script,  // a field of the header
      ]
    }
  }

  /// What the guest of the damaged image sees; nil when it cannot be opened at all.
  private static func viewBefore(
    _ bytes: [UInt8], _ image: SmallImage, _ world: World
  ) async -> GuestView? {
    let dataFile = image.hasDataFile ? MemoryDriver(length: 0, growsOnWrite: true) : nil
    guard
      let opened = try? await Opened.open(
        bytes, of: image, in: world, readOnly: true, dataFile: dataFile)
    else { return nil }
    let view = await GuestView(of: opened.door)
    try? await opened.close()
    let isSame = (try? await opened.disk.contents()) == bytes
    require(isSame, "opening and reading wrote something")
    return view
  }

  private static func verify(
    _ disk: MemoryDriver, _ image: SmallImage, _ expected: GuestView, _ world: World,
    _ dataFile: MemoryDriver?, hadLeaks: Bool
  ) async {
    let result = await Opened.check(disk, in: world)
    let findings = (result?.findings ?? []).filter { finding in
      // A table that is counted too high is copied as a shared one: without copied flags.
      (finding.kind == .corruption || finding.kind == .checkError)
        && !(hadLeaks && finding.message.contains("OFLAG_COPIED"))
    }
    require(result != nil && findings.isEmpty, "a sound image is damaged: \(findings.prefix(4))")
    guard
      let again = try? await Opened.open(
        disk, of: image, in: world, readOnly: true, dataFile: dataFile)
    else { fatalError("a sound image cannot be opened any more") }
    let view = await GuestView(of: again.door)
    if let sector = expected.firstDifference(from: view) {
      fatalError(
        "sector \(sector) was \(expected.sectors[sector]?.prefix(8) ?? []), and is "
          + "\(view.sectors[sector]?.prefix(8) ?? [])")
    }
    try? await again.close()
  }
}
