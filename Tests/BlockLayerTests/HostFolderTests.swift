import BlockLayer
import Foundation
import Primitives
import SystemPackage
import Testing

/// Names in a folder of the host.
@Suite struct HostFolderTests {
  private func withFolder(_ body: (HostFolder, String) async throws -> Void) async throws {
    let place = FileManager.default.temporaryDirectory.appending(path: "folder-\(UUID())")
    defer { try? FileManager.default.removeItem(at: place) }
    let folder = HostFolder(path: FilePath(place.path()))
    try folder.make()
    try folder.make()
    try await body(folder, place.path())
  }

  private func put(_ text: String, _ path: String) {
    #expect(FileManager.default.createFile(atPath: path, contents: Data(text.utf8)))
  }

  private func text(_ path: String) -> String? {
    FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func aNewNameTakesNobodysPlace() async throws {
    try await withFolder { folder, path in
      put("ours", path + "/partial")
      put("theirs", path + "/out")
      #expect(throws: BlockError(.alreadyExists, "")) {
        try folder.rename("partial", toNew: "out")
      }
      #expect(text(path + "/out") == "theirs" && text(path + "/partial") == "ours")
      try folder.rename("partial", toNew: "other")
      #expect(text(path + "/other") == "ours" && !folder.has("partial"))
    }
  }

  @Test func aLinkIsReplacedNotFollowed() async throws {
    try await withFolder { folder, path in
      put("precious", path + "/precious")
      try FileManager.default.createSymbolicLink(
        atPath: path + "/partial", withDestinationPath: path + "/precious")
      try await folder.create("partial").close()
      #expect(text(path + "/precious") == "precious" && text(path + "/partial") == "")
    }
  }

  @Test func aLockKeepsOthersOutUntilItIsClosed() async throws {
    try await withFolder { folder, path in
      let lock = try folder.lock(".lock")
      #expect(throws: BlockError(.inUse, "")) { _ = try folder.lock(".lock") }
      try await lock.close()
      // Whoever removes the file takes nobody in.
      let second = try folder.lock(".lock")
      try FileManager.default.removeItem(atPath: path + "/.lock")
      let third = try folder.lock(".lock")
      #expect(throws: BlockError(.inUse, "")) { _ = try folder.lock(".lock") }
      try await second.close()
      try await third.close()
    }
  }

  @Test func removingWhatIsNotThereIsNoError() async throws {
    try await withFolder { folder, path in
      try folder.remove("nothing")
      try FileManager.default.createDirectory(
        atPath: path + "/folder", withIntermediateDirectories: false)
      #expect(throws: BlockError.self) { try folder.remove("folder") }
    }
  }
}
