internal import Execution

/// The states that a crash could leave, each made when it is asked for.
///
/// All share the durable bytes; one costs what its own changes cost.
public struct CrashStates: RandomAccessCollection, Sendable {
  private let space: CrashSpace
  private let choices: [CrashSpace.Choice]

  init(_ point: CrashPoint, _ plan: CrashPlan, seed: UInt64) {
    space = CrashSpace(point)
    var enumeration = CrashEnumeration(space, plan, seed: seed)
    choices = enumeration.run()
  }

  /// 0.
  public var startIndex: Int { 0 }
  /// The number of states.
  public var endIndex: Int { choices.count }
  /// Makes a state.
  public subscript(position: Int) -> CrashState { space.state(choices[position]) }
}

/// Enumerates a crash space as a plan says.
struct CrashEnumeration {
  private typealias Choice = CrashSpace.Choice
  private let space: CrashSpace
  private let plan: CrashPlan
  private var random: SeededGenerator
  private var choices: [CrashSpace.Choice] = []
  private var known: Set<CrashSpace.Choice> = []

  init(_ space: CrashSpace, _ plan: CrashPlan, seed: UInt64) {
    self.space = space
    self.plan = plan
    random = SeededGenerator(seed: seed, label: "crash states")
  }

  /// The states, "nothing" first and "everything" second.
  mutating func run() -> [CrashSpace.Choice] {
    let operations = space.effects.indices
    add(space.nothing)
    add(space.choice(of: operations))
    let limit = 1 << plan.exhaustiveBits
    if sectorCombinations(limit) != nil {
      addSectorCombinations()
    } else {
      if operations.count <= plan.exhaustiveBits {
        addOperationCombinations()
      } else {
        addPatterns()
      }
      addLengths()
      addCuts()
      addOlderVersions()
      addSubsets()
    }
    return reduced()
  }

  private mutating func add(_ choice: CrashSpace.Choice) {
    let choice = space.canonical(choice)
    if known.insert(choice).inserted { choices.append(choice) }
  }

  /// At most the plan's maximum: the first two, and a seeded choice of the others in their order.
  private mutating func reduced() -> [CrashSpace.Choice] {
    guard choices.count > plan.maximum else { return choices }
    var kept = Array(choices.indices.dropFirst(2))
    kept.shuffle(using: &random)
    return choices.prefix(2) + kept.prefix(plan.maximum - 2).sorted().map { choices[$0] }
  }

  // MARK: - Whole spaces

  /// The number of combinations of sector contents and lengths; nil if it is above `limit`.
  private func sectorCombinations(_ limit: Int) -> Int? {
    var product = space.lengths.count
    for cell in space.cells {
      guard product <= limit else { return nil }
      product *= cell.versions.count
    }
    return product <= limit ? product : nil
  }

  private mutating func addSectorCombinations() {
    for length in space.lengths {
      var choice = space.nothing
      choice.length = length
      repeat { add(choice) } while advance(&choice)
    }
  }

  /// Counts up the versions like the digits of a number; false after the last.
  private func advance(_ choice: inout CrashSpace.Choice) -> Bool {
    for (index, cell) in space.cells.enumerated() {
      choice.versions[index] += 1
      if choice.versions[index] < cell.versions.count { return true }
      choice.versions[index] = 0
    }
    return false
  }

  private mutating func addOperationCombinations() {
    let operations = space.effects.indices
    for subset in 0..<1 << operations.count {
      add(space.choice(of: operations.filter { subset >> $0 & 1 == 1 }))
    }
  }

  // MARK: - Patterns

  private mutating func addPatterns() {
    let operations = space.effects.indices
    for operation in operations { add(space.choice(of: operations.prefix(operation))) }
    for operation in operations { add(space.choice(of: operations.filter { $0 != operation })) }
    for operation in operations { add(space.choice(of: [operation])) }
    guard plan.makesPairs else { return }
    for first in operations {
      for second in operations.dropFirst(first + 1) { add(space.choice(of: [first, second])) }
    }
  }

  /// Each length with nothing and with everything.
  private mutating func addLengths() {
    for length in space.lengths {
      for var choice in [space.nothing, space.choice(of: space.effects.indices)] {
        choice.length = length
        add(choice)
      }
    }
  }

  /// Each operation of several sectors cut at a border of sectors, and with one sector alone; what
  /// came before it being there, and all else being there.
  private mutating func addCuts() {
    let operations = space.effects.indices
    for operation in operations where space.effects[operation].cells.count > 1 {
      let count = space.effects[operation].cells.count
      var cuts = (1..<count).map { 0..<$0 } + (0..<count).map { $0..<$0 + 1 }
      cuts.shuffle(using: &random)
      for cut in cuts.prefix(plan.cutsPerOperation) {
        for others in [Array(operations.prefix(operation)), operations.filter { $0 != operation }] {
          var choice = space.choice(of: others)
          space.happen(operation, only: cut, in: &choice)
          add(choice)
        }
      }
    }
  }

  /// Everything, but one sector with an older content.
  private mutating func addOlderVersions() {
    let everything = space.choice(of: space.effects.indices)
    for (index, cell) in space.cells.enumerated() where cell.versions.count > 2 {
      for version in cell.versions.indices {
        var choice = everything
        choice.versions[index] = UInt16(version)
        add(choice)
      }
    }
  }

  // MARK: - Seeded subsets

  /// Of operations and of sectors by turns.
  private mutating func addSubsets() {
    for probability in [0.1, 0.5, 0.9] {
      for round in 0..<plan.subsetsPerProbability {
        var choice = round % 2 == 0 ? operationSubset(probability) : sectorSubset(probability)
        if let length = space.lengths.randomElement(using: &random), round % 4 >= 2 {
          choice.length = length
        }
        add(choice)
      }
    }
  }

  private mutating func operationSubset(_ probability: Double) -> CrashSpace.Choice {
    let operations = space.effects.indices.filter { _ in happens(probability) }
    return space.choice(of: operations)
  }

  private mutating func sectorSubset(_ probability: Double) -> CrashSpace.Choice {
    var choice = space.choice(of: space.effects.indices)
    for (index, cell) in space.cells.enumerated() {
      choice.versions[index] =
        happens(probability)
        ? UInt16.random(in: 1..<UInt16(cell.versions.count), using: &random) : 0
    }
    return choice
  }

  private mutating func happens(_ probability: Double) -> Bool {
    Double.random(in: 0..<1, using: &random) < probability
  }
}
