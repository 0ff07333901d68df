internal import Foundation

/// Where and when a run was made: no figure means anything without it.
struct Machine: Codable, Sendable {
  let processor: String
  let processorCount: Int
  let caches: String
  let system: String
  let load: String

  /// This machine, now.
  static var current: Machine {
    Machine(
      processor: field("model name", of: "/proc/cpuinfo") ?? "unknown processor",
      processorCount: ProcessInfo.processInfo.activeProcessorCount,
      caches: caches,
      system: ProcessInfo.processInfo.operatingSystemVersionString, load: loadAverage)
  }

  /// The load average of the last 1, 5 and 15 minutes.
  static var loadAverage: String {
    text(of: "/proc/loadavg").map { $0.split(separator: " ").prefix(3).joined(separator: " ") }
      ?? "unknown"
  }

  /// The most memory that this process had at once.
  static var peakMemoryBytes: Int {
    var usage = rusage()
    #if os(Linux)
    guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    return Int(usage.ru_maxrss) << 10
    #else
    guard getrusage(RUSAGE_SELF, &usage) == 0 else { return 0 }
    return Int(usage.ru_maxrss)
    #endif
  }

  /// The memory of this process that is there now; 0 where the host does not tell.
  static var residentBytes: Int {
    let pages = text(of: "/proc/self/statm")?.split(separator: " ").dropFirst().first
    return (pages.flatMap { Int($0) } ?? 0) * Int(getpagesize())
  }

  private static var caches: String {
    let folder = "/sys/devices/system/cpu/cpu0/cache/index"
    let levels = (0..<5).compactMap { index -> String? in
      guard let level = text(of: "\(folder)\(index)/level"),
        let size = text(of: "\(folder)\(index)/size"),
        text(of: "\(folder)\(index)/type") != "Instruction"
      else { return nil }
      return "L\(level) \(size)"
    }
    return levels.isEmpty ? "caches unknown" : levels.joined(separator: ", ")
  }

  private static func text(of path: String) -> String? {
    guard let data = FileManager.default.contents(atPath: path) else { return nil }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static func field(_ name: String, of path: String) -> String? {
    let line = text(of: path)?.split(separator: "\n").first { $0.hasPrefix(name) }
    return line?.split(separator: ":").last.map { $0.trimmingCharacters(in: .whitespaces) }
  }
}
