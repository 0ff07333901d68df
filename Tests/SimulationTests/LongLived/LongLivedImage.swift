import BlockLayer
import BlockTestKit
import Execution
import Primitives

@testable import Qcow2

/// An image that is written, discarded, resized and snapshotted for a long time, beside what it
/// must hold, with every allocation checked.
struct LongLivedImage {
  struct Kind: Sendable {
    var clusterSize = 512
    var refcountBits = 16
    var version = FormatVersion.v3
  }

  struct Problem: Error, CustomStringConvertible {
    let description: String
  }

  /// Opens the image's file, as often as it is asked to; whoever asks closes what it answers.
  typealias Host = @Sendable () throws(BlockError) -> any ResizableImage

  let kind: Kind
  let host: Host
  let graph: BlockGraph
  /// Guest operations and changes of the image up to now.
  private(set) var operations = 0
  /// The most that the image needed at any time, in clusters.
  private(set) var largest = OwnerMap.Account()
  /// The longest that the file was, in bytes.
  private(set) var longestFile = 0

  private var watched: WatchedFile
  private var node: BlockNode
  private var door: BlockBackend
  private var bytes: [UInt8]
  private var frozen: [(name: String, bytes: [UInt8])] = []
  private var random: SeededGenerator

  /// The largest disk, in clusters.
  static let clusters = 1024
  /// Snapshots that live at the same time.
  static let snapshots = 3
  static let guests = 3

  init(_ kind: Kind, on host: @escaping Host, in world: World) async throws {
    self.kind = kind
    self.host = host
    random = world.makeRandom("long life")
    bytes = [UInt8](repeating: 0, count: Self.clusters * kind.clusterSize)
    var options = NewImageOptions(virtualSize: bytes.count)
    options.clusterSize = kind.clusterSize
    options.refcountBits = kind.refcountBits
    options.version = kind.version
    var registry = DriverRegistry()
    registry.addFormat("qcow2") { (file, context) async throws(BlockError) in
      try await Qcow2Driver.open(file, context)
    }
    graph = BlockGraph(world: world, registry: registry, policy: .none)
    let file = try graph.addNode(try host())
    try await Qcow2Driver.create(options, in: file)
    try await graph.close(file)
    watched = try await Self.watch(host)
    (node, door) = try await Self.open(watched, in: graph)
  }

  private static func bytes(of file: any ResizableImage) async throws -> [UInt8] {
    var buffer = IOBuffer(byteCount: file.length)
    var span = buffer.mutableBytes
    try await file.read(ByteRange(0, span.byteCount), into: &span)
    return span.bytes.toArray()
  }

  private static func watch(_ host: Host) async throws -> WatchedFile {
    let file = try host()
    return WatchedFile(file, contents: try await bytes(of: file))
  }

  private static func open(
    _ watched: WatchedFile, in graph: BlockGraph
  ) async throws -> (BlockNode, BlockBackend) {
    let file = try graph.addNode(watched, options: NodeOptions(discard: .unmap))
    let node = try await graph.open(
      file: file, OpenOptions(format: "qcow2", backing: .ignore, discard: .unmap))
    guard let driver = node.driver as? Qcow2Driver else { throw Problem(description: "no qcow2") }
    watched.observe(driver)
    return (node, try BlockBackend(node, in: graph))
  }

  // MARK: - Living

  /// Lets guests work for a while, all at once, and then does something to the image as a whole.
  mutating func live() async throws {
    try await letGuestsWork(Int.random(in: 10...60, using: &random))
    try check()
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<20 where frozen.count < Self.snapshots: try await freeze()
    case 20..<32: try await goBack()
    case 0..<50: try await forget()
    case 50..<70: try await resize()
    case 70..<76: try await compare()
    case 76..<80: try await reopen()
    default: try await door.flush()
    }
    operations += 1
    try check()
  }

  private mutating func letGuestsWork(_ count: Int) async throws {
    let clusters = bytes.count.dividedRoundingUp(by: kind.clusterSize)
    let places = (0...Self.guests).map {
      min(clusters * $0 / Self.guests * kind.clusterSize, bytes.count)
    }
    let problem = try await withThrowingTaskGroup(of: (LongLivedGuest, String?).self) { group in
      for (lower, upper) in zip(places, places.dropFirst()) where lower < upper {
        var guest = LongLivedGuest(
          door: door, clusterSize: kind.clusterSize, part: ByteRange(lower, upper),
          bytes: bytes[lower..<upper], random: SeededGenerator(seed: random.next()))
        group.addTask {
          let problem = try await guest.work(count)
          return (guest, problem)
        }
      }
      var problem: String?
      for try await (guest, found) in group {
        bytes.replaceSubrange(guest.part.lower..<guest.part.upper, with: guest.bytes)
        problem = problem ?? found
      }
      return problem
    }
    if let problem { throw Problem(description: problem) }
    operations += count * Self.guests
  }

  private mutating func freeze() async throws {
    let name = "s\(operations)"
    do {
      try await graph.createSnapshot(named: name, of: node)
      frozen.append((name, bytes))
    } catch {
      guard error.code == .invalidArgument, isNarrow else { throw error }
    }
  }

  private mutating func goBack() async throws {
    guard let snapshot = frozen.randomElement(using: &random) else { return }
    do {
      try await graph.applySnapshot(.name(snapshot.name), to: node)
      bytes = snapshot.bytes
    } catch {
      guard error.code == .invalidArgument, isNarrow else { throw error }
    }
    try await compare()
  }

  private mutating func forget() async throws {
    guard let index = frozen.indices.randomElement(using: &random) else { return }
    try await graph.deleteSnapshot(.name(frozen[index].name), of: node)
    frozen.remove(at: index)
  }

  /// Whether refcounts may be too narrow for a snapshot more.
  private var isNarrow: Bool { kind.refcountBits < 8 }

  private mutating func resize() async throws {
    if kind.version == .v2, !frozen.isEmpty { return }
    let sectors = Self.clusters * kind.clusterSize / 512
    let length = 512 * Int.random(in: sectors / 2...sectors, using: &random)
    try await door.resize(to: length, mayShrink: true)
    if length < bytes.count {
      bytes.removeLast(bytes.count - length)
    } else {
      bytes += [UInt8](repeating: 0, count: length - bytes.count)
    }
  }

  // MARK: - Looking

  private func compare() async throws {
    let found = try await door.read(at: 0, count: door.length)
    guard found == bytes else {
      let place = zip(found, bytes).enumerated().first { $1.0 != $1.1 }?.offset
      throw Problem(
        description: "the disk of \(found.count) bytes, which should be \(bytes.count), is wrong "
          + "at \(place ?? -1)")
    }
  }

  /// Looks at the accounts; throws what is wrong with them.
  private mutating func check(isClosed: Bool = false) throws {
    let account = watched.account(isClosed: isClosed)
    largest.mapped = max(largest.mapped, account.mapped)
    largest.live = max(largest.live, account.live)
    longestFile = max(longestFile, watched.contentLength)
    if !watched.violations.isEmpty {
      throw Problem(description: watched.violations.joined(separator: "; "))
    }
    if longestFile > Self.bound(largest, kind) {
      throw Problem(description: "the file grew to \(longestFile) bytes for \(largest)")
    }
  }

  /// How long the file may be for what was needed at most: half as much again as the data, and
  /// some clusters for tables and for what waits until its removal is durable.
  static func bound(_ account: OwnerMap.Account, _ kind: Kind) -> Int {
    (account.mapped * 3 / 2 + 256) * kind.clusterSize
  }

  /// Closes the image, checks it twice over, and opens it again.
  mutating func reopen() async throws {
    try await compare()
    await door.close()
    try await graph.close(node)
    try check(isClosed: true)
    try await audit()
    watched = try await Self.watch(host)
    (node, door) = try await Self.open(watched, in: graph)
  }

  private func audit() async throws {
    let file = try host()
    let bytes = try await Self.bytes(of: file)
    guard bytes == watched.contents else {
      throw Problem(description: "the file is not what was written")
    }
    let audit = ImageAudit(SparseImage(bytes))
    guard audit.corruptions.isEmpty, audit.leaks == 0 else {
      throw Problem(description: "\(audit.corruptions.prefix(4)), \(audit.leaks) leaks")
    }
    let node = try graph.addNode(file, options: NodeOptions(isReadOnly: true))
    let image = try await graph.open(
      file: node, OpenOptions(format: "qcow2", readOnly: true, backing: .ignore))
    guard let driver = image.driver as? Qcow2Driver else { return }
    let check = try await driver.check()
    guard check.isComplete, check.findings.isEmpty, check.leaks == 0 else {
      throw Problem(description: "\(check.findings.prefix(4)), \(check.leaks) leaks")
    }
    try await graph.close(image)
  }
}
