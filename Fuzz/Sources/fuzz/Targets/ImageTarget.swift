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
  ) { input in
    DamagedImage.run(input) { damaged in
      let disk = await damaged.makeDisk()
      let before = await damaged.view(of: disk)
      require(await disk.holds(damaged.contents), "opening and reading wrote something")
      guard let before, let opened = try? await damaged.open(disk, readOnly: false) else { return }
      let check = await Opened.check(disk, in: damaged.world)
      var script = GuestScript(damaged.rest, on: opened, seeing: before)
      await script.run()
      let isClosed = (try? await opened.close()) != nil
      guard let check, check.isSound, isClosed else { return }
      await verify(disk, damaged, script.view)
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
    } + found
  }

  /// Inputs that broke something once: a cluster with two owners of which the last lacks its flag.
  private static let found: [[UInt8]] = [
    [
      12, 4, 20, 2, 16, 0, 255, 62, 255, 255, 239, 255, 255, 255, 16, 0, 255, 62, 255, 255, 239,
      255, 255, 255, 59, 7, 9, 1, 30, 1, 64, 20, 5, 84, 0, 131, 255, 239, 255, 255, 255, 59, 7, 9,
      1, 30, 1, 64, 20, 5, 84, 0, 131, 66, 0, 3, 0, 120, 9, 7,
    ],
    [
      82, 97, 110, 103, 101, 0, 20, 9, 1, 20, 69, 110, 99, 111, 100, 97, 98, 108, 16, 9, 101, 2,
      7, 0, 40, 40, 20, 0, 37, 120, 30, 159, 136, 159, 159, 73, 20, 70, 81, 0, 20, 9, 9, 136, 0,
      3, 0,
    ],
    [
      12, 97, 110, 103, 82, 97, 5, 0, 96, 0, 85, 73, 110, 116, 1, 37, 176, 82, 97, 110, 103, 5, 0,
      96, 0, 85, 73, 110, 116, 176, 103, 5,
    ],
  ]

  /// The image is sound as it was, and the guest sees what it must.
  ///
  /// In one that was damaged, copied flags may be clear where they could be set, which costs a
  /// copy: what is counted too high is copied as a shared one; and where two entries, one of them
  /// perhaps compressed, name one cluster, nobody knows the last owner when the other is gone.
  private static func verify(
    _ disk: MemoryDriver, _ damaged: DamagedImage, _ expected: GuestView
  ) async {
    let isDamaged = damaged.contents != damaged.image.contents
    let result = await Opened.check(disk, in: damaged.world)
    let findings = (result?.findings ?? []).filter { finding in
      (finding.kind == .corruption || finding.kind == .checkError)
        && !(isDamaged && finding.isMissingFlag)
    }
    require(result != nil && findings.isEmpty, "a sound image is damaged: \(findings.prefix(4))")
    guard let view = await damaged.view(of: disk) else {
      fatalError("a sound image cannot be opened any more")
    }
    expected.requireSame(view)
  }
}

extension ImageCheck.Finding {
  /// Whether it is a copied flag that is clear where it might be set: that costs a copy.
  fileprivate var isMissingFlag: Bool {
    message.contains("OFLAG_COPIED") && message.hasSuffix("refcount=1")
  }
}
