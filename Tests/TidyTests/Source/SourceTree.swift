#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The files of this repository, as a clone would have them.
enum SourceTree {
  /// Every file that `.gitignore` does not name, sorted by path.
  static let files: [SourceFile] = load()

  /// The repository's root: three folders above this file's own.
  private static let root: String = {
    let parts = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return parts.dropLast(4).joined(separator: "/")
  }()

  private static func load() -> [SourceFile] {
    let ignored = IgnoreList(text: read(".gitignore").map { String(decoding: $0, as: UTF8.self) })
    var files: [SourceFile] = []
    var folders = [""]
    while let folder = folders.popLast() {
      let names = try? FileManager.default.contentsOfDirectory(atPath: root + "/" + folder)
      for name in names ?? [] {
        let path = folder.isEmpty ? name : folder + "/" + name
        switch kind(of: path) {
        case FileAttributeType.typeDirectory where !ignored.matches(path, isFolder: true):
          folders.append(path)
        case FileAttributeType.typeRegular where !ignored.matches(path, isFolder: false):
          if let bytes = read(path) { files.append(SourceFile(path: path, bytes: bytes)) }
        default: break  // ignored, or a link
        }
      }
    }
    return files.sorted { $0.path < $1.path }
  }

  private static func kind(of path: String) -> FileAttributeType? {
    let attributes = try? FileManager.default.attributesOfItem(atPath: root + "/" + path)
    return attributes?[.type] as? FileAttributeType
  }

  private static func read(_ path: String) -> [UInt8]? {
    FileManager.default.contents(atPath: root + "/" + path).map { [UInt8]($0) }
  }
}

/// The part of `.gitignore`'s grammar that this repository uses: a name with at most one `*`, from
/// the root when it begins with a slash, folders alone when it ends with one.
struct IgnoreList {
  private let patterns: [Substring]

  init(text: String?) {
    let lines = (text ?? "").split(separator: "\n").filter { !$0.hasPrefix("#") }
    patterns = [".git"] + lines
  }

  func matches(_ path: String, isFolder: Bool) -> Bool {
    patterns.contains { pattern in
      var pattern = pattern
      if pattern.hasSuffix("/") {
        guard isFolder else { return false }
        pattern.removeLast()
      }
      let isWholePath = pattern.contains("/")
      if pattern.hasPrefix("/") { pattern.removeFirst() }
      let subject = isWholePath ? path[...] : path.split(separator: "/").last ?? ""
      guard let star = pattern.firstIndex(of: "*") else { return subject == pattern }
      let (head, tail) = (pattern[..<star], pattern[pattern.index(after: star)...])
      return subject.count >= head.count + tail.count && subject.hasPrefix(head)
        && subject.hasSuffix(tail)
    }
  }
}
