#if os(Linux)
internal import Glibc
internal import SystemPackage

/// Who holds a file's locks, for a message that says whom to ask.
///
/// The kernel does not tell whose an open file description's lock is, but lists each descriptor's
/// locks in `/proc/PID/fdinfo`. Processes of other users stay hidden.
struct LockHolder: CustomStringConvertible {
  let process: Int32
  let command: String

  var isThisProcess: Bool { process == getpid() }

  var description: String {
    isThisProcess ? "this process" : "another process (\(command), pid \(process))"
  }

  /// The first process found that holds a lock on `byte` of `file`, the calling one last of all.
  ///
  /// Reads all of `/proc` that it may: for the way to an error message only.
  static func find(of file: HostFile, byte: Int) -> LockHolder? {
    guard let wanted = try? file.facts().identity else { return nil }
    let processes = entries(of: "/proc").compactMap { Int32($0) }.sorted()
    let own = getpid()
    for process in processes.filter({ $0 != own }) + [own] {
      let folder = "/proc/\(process)"
      for descriptor in entries(of: "\(folder)/fd")
      where FileIdentity(of: FilePath("\(folder)/fd/\(descriptor)")) == wanted {
        guard holds(byte, text(of: "\(folder)/fdinfo/\(descriptor)")) else { continue }
        let command = text(of: "\(folder)/comm").prefix { $0 != "\n" }
        return LockHolder(process: process, command: OpenPolicy.printable(String(command)))
      }
    }
    return nil
  }

  /// Whether a `fdinfo` text has a lock on `byte`.
  ///
  /// Its lines are those of `/proc/locks`, `lock: 1: OFDLCK ADVISORY READ -1 fe:00:123 100 101`:
  /// the first and the last byte stand last.
  private static func holds(_ byte: Int, _ text: String) -> Bool {
    text.split(separator: "\n").contains { line in
      let words = line.split { $0 == " " || $0 == "\t" }
      guard words.contains("OFDLCK"), let first = words.dropLast().last.flatMap({ Int($0) })
      else { return false }
      let last = words.last.flatMap { Int($0) } ?? .max  // EOF
      return first <= byte && byte <= last
    }
  }

  /// The names in a folder; none when it cannot be read.
  ///
  /// The corresponding C functions are `opendir` and `readdir`.
  private static func entries(of folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }

  /// The first 4 KiB of a file; empty when it cannot be read.
  private static func text(of path: String) -> String {
    guard let file = try? HostFile.open(FilePath(path), writable: false) else { return "" }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = bytes.withUnsafeMutableBytes { buffer in
      (try? file.descriptor.read(into: buffer)) ?? 0
    }
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }
}
#endif
