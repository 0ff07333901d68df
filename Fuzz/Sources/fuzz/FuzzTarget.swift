#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A piece of the engine that takes bytes of an enemy.
struct FuzzTarget: Sendable {
  let name: String
  let summary: String
  /// Inputs to begin with, made of valid images.
  let seeds: @Sendable () -> [[UInt8]]
  /// Takes any bytes; ends the process when what must hold does not.
  let run: @Sendable ([UInt8]) -> Void

  static let all = [header, snapshots, bitmaps, compressed, image, check, repair]

  static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }

  func writeSeeds(to folder: String) {
    for (number, seed) in seeds().enumerated() {
      guard let file = fopen("\(folder)/seed-\(number)", "w") else { continue }
      fwrite(seed, 1, seed.count, file)
      fclose(file)
    }
  }
}

/// Ends the process unless `condition` holds: the fuzzer keeps the input.
func require(_ condition: Bool, _ message: @autoclosure () -> String) {
  if !condition { fatalError(message()) }
}
