internal import Synchronization

extension World {
  /// Makes the generator of pseudorandom numbers that this World's seed gives to `label`.
  ///
  /// The same label gives the same numbers each time it is asked.
  public func makeRandom(_ label: String) -> SeededGenerator {
    SeededGenerator(seed: seed, label: label)
  }

  /// Writes a line into the trace of a simulated World; a threaded one ignores it, without making
  /// the text.
  public func record(_ event: @autoclosure () -> String) {
    if case .simulated(let executor) = kind { executor.record(event()) }
  }

  /// What a simulated World has done so far; nil for a threaded one.
  public var trace: SimulationTrace? {
    if case .simulated(let executor) = kind { executor.trace } else { nil }
  }
}

extension World {
  /// 64 bits that nobody can foretell: from the system in a threaded World, from the seed in a
  /// simulated one.
  ///
  /// For identities, which must not be the same by chance.
  public func entropy() -> UInt64 {
    switch kind {
    case .threaded:
      var system = SystemRandomNumberGenerator()
      return system.next()
    case .simulated:
      let count = entropyCount.add(1, ordering: .relaxed).newValue
      var random = makeRandom("entropy \(count)")
      return random.next()
    }
  }
}
