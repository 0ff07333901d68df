internal import BlockLayer
internal import Primitives
internal import Qcow2

/// `length`, `info`, `alloc` and `map`.
extension IOSession {
  func length() throws {
    console.print(IOReport.size(try openImage().disk.length))
  }

  func info() async throws {
    let image = try openImage()
    let driver = image.image.driver.driverName
    for _ in 0..<(IOImage.protocols.contains(driver) ? 2 : 1) {
      console.print("format name: \(driver)")
    }
    guard let facts = try await image.facts() else { throw IOFailure.silent }
    console.print("cluster size: \(IOReport.size(facts.clusterSize))")
    console.print("vm state offset: \(IOReport.size(facts.stateOffset))")
    guard !facts.lines.isEmpty else { return }
    console.print("Format specific information:")
    for line in facts.lines { console.print("    " + line) }
  }

  func alloc(_ words: [String]) async throws {
    let image = try openImage()
    let offset = try numbers.size(words[1])
    let asked = words.count > 2 ? try numbers.size(words[2]) : 512
    let count = min(asked, max(0, image.disk.length - offset))
    var allocated = 0
    do {
      try await events.waiting {
        var rest = ByteRange(offset: count == 0 ? 0 : offset, count: count)
        while !rest.isEmpty {
          let run = try await image.run(rest)
          if run.isAllocated { allocated += run.count }
          rest = rest.dropFirst(run.count)
        }
      }
    } catch let error as BlockError {
      throw IOFailure.said("is_allocated failed: \(error.asHostSays)")
    }
    console.print("\(allocated)/\(count) bytes allocated at offset \(IOReport.size(offset))")
  }

  func map() async throws {
    let image = try openImage()
    var rest = ByteRange(0, image.disk.length)
    while !rest.isEmpty {
      let run: (isAllocated: Bool, count: Int)
      do {
        run = try await events.waiting { [rest] in try await image.longRun(rest) }
      } catch let error as BlockError {
        throw IOFailure.said("Failed to get allocation status: \(error.asHostSays)")
      }
      let size = "\(IOReport.size(run.count)) (0x\(String(run.count, radix: 16)))"
      let place = "\(IOReport.size(rest.lower)) (0x\(String(rest.lower, radix: 16)))"
      console.print(
        "\(size) bytes \(run.isAllocated ? "    allocated" : "not allocated") at offset \(place)")
      rest = rest.dropFirst(run.count)
    }
  }
}

extension IOImage {
  /// The drivers below which there is no image.
  static let protocols = ["file", "null-co", "blkdebug"]

  /// What `info` tells of the image's format.
  struct Facts {
    var clusterSize = 0
    /// Where the state of a machine would begin.
    var stateOffset = 0
    var lines: [String] = []
  }

  /// Nil where there is nothing to tell.
  fileprivate func facts() async throws -> Facts? {
    let top = image
    if top.driver.driverName == "null-co" { return nil }
    guard top.driver.driverName == "qcow2", let file = top.primary else { return Facts() }
    let found = try await Qcow2Driver.information(of: file)
    // What one entry of the L1 table covers; the state begins at the next one.
    let entrySize = found.hasExtendedL2 ? 16 : 8
    let unit = found.clusterSize * (found.clusterSize / entrySize)
    return Facts(
      clusterSize: found.clusterSize,
      stateOffset: found.virtualSize.checkedRoundedUp(to: unit) ?? 0,
      lines: ImageFacts.specific(found))
  }

  /// What the first bytes of `range` are in the image's own layer.
  func run(_ range: ByteRange) async throws(BlockError) -> (isAllocated: Bool, count: Int) {
    let status = try await disk.node.dataNode.driver.status(range)
    return (status.isAllocated, min(status.count, range.count))
  }

  /// The same, as long as it goes.
  fileprivate func longRun(
    _ range: ByteRange
  ) async throws(BlockError) -> (isAllocated: Bool, count: Int) {
    var first = try await run(range)
    while first.count < range.count {
      let next = try await run(range.dropFirst(first.count))
      guard next.isAllocated == first.isAllocated else { break }
      first.count += next.count
    }
    return first
  }
}
