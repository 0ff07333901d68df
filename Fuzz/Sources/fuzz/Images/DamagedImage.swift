import BlockLayer
import Execution
import Primitives

/// A small image, damaged as the fuzzer's bytes say: what `image`, `check` and `repair` begin with.
struct DamagedImage: Sendable {
  let image: SmallImage
  /// The whole file.
  let contents: [UInt8]
  /// The fuzzer's bytes that are left.
  let rest: InputReader
  /// Where it is opened.
  let world: World
  /// The data file, if the image has one.
  let dataFile: MemoryDriver?

  /// Damages an image as the first bytes of `input` say, and runs `body` in a World of its own.
  static func run(_ input: [UInt8], _ body: @escaping @Sendable (DamagedImage) async -> Void) {
    var reader = InputReader(input)
    let image = SmallImage.all[Int(reader.byte()) % SmallImage.all.count]
    let contents = Damage.apply(&reader, to: image)
    // More steps than any input needs: a loop without an end is one that traps.
    let world = World.simulated(seed: 1, stepLimit: 300_000)
    let damaged = DamagedImage(
      image: image, contents: contents, rest: reader, world: world,
      dataFile: image.hasDataFile ? MemoryDriver(length: 0, growsOnWrite: true) : nil)
    world.runBlocking { await body(damaged) }
  }

  /// A disk with the file on it.
  func makeDisk() async -> MemoryDriver { await .holding(contents) }

  /// Opens what has become of the image on `disk`.
  func open(_ disk: MemoryDriver, readOnly: Bool) async throws(BlockError) -> Opened {
    try await Opened.open(disk, of: image, in: world, readOnly: readOnly, dataFile: dataFile)
  }

  /// What a guest sees of the image on `disk`; nil when it cannot be opened.
  func view(of disk: MemoryDriver) async -> GuestView? {
    guard let opened = try? await open(disk, readOnly: true) else { return nil }
    let view = await GuestView(of: opened.door)
    try? await opened.close()
    return view
  }
}
