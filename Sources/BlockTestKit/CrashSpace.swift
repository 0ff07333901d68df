internal import Primitives

/// The space of the states that a crash point allows: for every sector that pending operations
/// change, the contents it may have; and the lengths that the file may have.
///
/// Contents are told apart by value, so that two operations which write the same make one version.
struct CrashSpace: Sendable {
  /// A sector with more than one possible content.
  struct Cell: Sendable {
    let number: Int
    /// The first is the durable one.
    var versions: [SectorContent]
  }

  /// What one operation does to the cells.
  struct Effect: Sendable {
    var cells: [(cell: Int, version: Int)] = []
    /// The end of what it wrote; the file is at least that long where the write took place.
    var end = 0
    /// The length that it gave the file, if it is a resize.
    var resizedTo: Int?
  }

  /// One state: a version for each cell, and a length.
  struct Choice: Hashable, Sendable {
    var versions: [UInt16]
    var length: Int
  }

  let point: CrashPoint
  private(set) var cells: [Cell] = []
  private(set) var effects: [Effect] = []
  /// The possible lengths, ascending.
  let lengths: [Int]
  let durableSignature: UInt64

  init(_ point: CrashPoint) {
    self.point = point
    durableSignature = point.durable.signature
    lengths = CrashSpace.possibleLengths(point)
    var index: [Int: Int] = [:]
    for number in CrashSpace.changedSectors(point) {
      index[number] = cells.count
      cells.append(Cell(number: number, versions: [point.durable.sector(number)]))
    }
    for operation in point.pending { addEffect(of: operation, index) }
  }

  /// The sectors for which some operation has a content that is not the durable one, ascending.
  private static func changedSectors(_ point: CrashPoint) -> [Int] {
    var numbers: Set<Int> = []
    for operation in point.pending {
      for sector in operation.sectors where point.durable.sector(sector.number) != sector.content {
        numbers.insert(sector.number)
      }
    }
    return numbers.sorted()
  }

  private static func possibleLengths(_ point: CrashPoint) -> [Int] {
    var lengths: Set = [point.durable.length]
    for operation in point.pending {
      if let length = operation.newLength { lengths.insert(length) }
      if operation.operation == .write || operation.operation == .writeZeroes {
        // Without the growth before it, its own end is the length.
        lengths.insert(max(operation.range.upper, point.durable.length))
      }
    }
    return lengths.sorted()
  }

  private mutating func addEffect(of operation: PendingOperation, _ index: [Int: Int]) {
    var effect = Effect()
    for sector in operation.sectors {
      guard let cell = index[sector.number] else { continue }
      effect.cells.append((cell, version(sector.content, of: cell)))
    }
    switch operation.operation {
    case .resize: effect.resizedTo = operation.newLength
    case .write: effect.end = operation.range.upper
    default: effect.end = operation.newLength ?? 0
    }
    effects.append(effect)
  }

  private mutating func version(_ content: SectorContent, of cell: Int) -> Int {
    if let known = cells[cell].versions.firstIndex(of: content) { return known }
    cells[cell].versions.append(content)
    return cells[cell].versions.count - 1
  }

  // MARK: - Making choices

  /// The state in which nothing has happened.
  var nothing: Choice {
    Choice(versions: [UInt16](repeating: 0, count: cells.count), length: point.durable.length)
  }

  /// The state in which exactly these operations have happened, in their order.
  func choice(of operations: some Sequence<Int>) -> Choice {
    var choice = nothing
    for operation in operations { happen(operation, in: &choice) }
    return choice
  }

  /// Lets an operation happen, or only those of its sectors at `positions` of its list.
  func happen(_ operation: Int, only positions: Range<Int>? = nil, in choice: inout Choice) {
    let effect = effects[operation]
    for position in positions ?? 0..<effect.cells.count {
      let (cell, version) = effect.cells[position]
      choice.versions[cell] = UInt16(version)
    }
    if let length = effect.resizedTo { choice.length = length }
    var end = effect.end
    if let positions, positions.upperBound < effect.cells.count, positions.upperBound > 0 {
      let last = cells[effect.cells[positions.upperBound - 1].cell].number
      end = min(end, (last + 1) * Sector.size)
    }
    choice.length = max(choice.length, end)
  }

  /// The same state without the differences that its length cuts off.
  func canonical(_ choice: Choice) -> Choice {
    var choice = choice
    for (index, cell) in cells.enumerated() where cell.number * Sector.size >= choice.length {
      choice.versions[index] = 0
    }
    return choice
  }

  // MARK: - States

  /// The disk in that state.
  func state(_ choice: Choice) -> CrashState {
    var image = point.durable
    for (cell, version) in zip(cells, choice.versions) where version != 0 {
      image.setSector(cell.number, cell.versions[Int(version)])
    }
    if image.length != choice.length || needsCut(choice) { image.cut(to: choice.length) }
    return CrashState(
      image: image, signature: signature(choice), description: describe(choice))
  }

  private func needsCut(_ choice: Choice) -> Bool {
    guard let last = cells.last else { return false }
    return (last.number + 1) * Sector.size > choice.length
  }

  private func signature(_ choice: Choice) -> UInt64 {
    var sum = durableSignature &- SparseImage.lengthSignature(point.durable.length)
    for (cell, version) in zip(cells, choice.versions) {
      let content = cell.versions[Int(version)].prefix(choice.length - cell.number * Sector.size)
      sum = sum &- cell.versions[0].signature(at: cell.number)
      sum = sum &+ content.signature(at: cell.number)
    }
    return sum &+ SparseImage.lengthSignature(choice.length)
  }

  private func describe(_ choice: Choice) -> String {
    var whole: [String] = []
    var parts: [String] = []
    var absent: [String] = []
    for (operation, effect) in zip(point.pending, effects) where !effect.cells.isEmpty {
      let there = effect.cells.count { Int(choice.versions[$0.cell]) == $0.version }
      let name = "#\(operation.number) \(operation.operation) \(operation.range)"
      if there == effect.cells.count {
        whole.append(name)
      } else if there == 0 {
        absent.append(name)
      } else {
        parts.append("\(name): \(there) of \(effect.cells.count) sectors")
      }
    }
    func list(_ title: String, _ names: [String]) -> String? {
      names.isEmpty ? nil : "\(title) " + names.joined(separator: ", ")
    }
    let texts = [
      list("there:", whole), list("torn:", parts), list("lost or overwritten:", absent),
      "length \(choice.length)",
    ]
    return texts.compactMap { $0 }.joined(separator: "; ")
  }
}
