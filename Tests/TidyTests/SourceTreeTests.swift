import Testing

@Suite struct SourceTreeTests {
  @Test func ignoredNamesAreSkippedAsGitSkipsThem() {
    let list = IgnoreList(
      text: ".build*/\nPackage.resolved\n/results/\n*.x\n# a comment\n/a/.b*/\n")
    #expect(list.matches(".build-simulate", isFolder: true))
    #expect(list.matches("Benchmarks/.build", isFolder: true))
    #expect(!list.matches(".build", isFolder: false))
    #expect(list.matches("Benchmarks/Package.resolved", isFolder: false))
    #expect(list.matches("results", isFolder: true))
    #expect(!list.matches("docs/results", isFolder: true))
    #expect(list.matches("docs/page.x", isFolder: false))
    #expect(list.matches("a/.b1", isFolder: true))
    #expect(list.matches(".git", isFolder: true) && list.matches(".git", isFolder: false))
    #expect(!list.matches(".gitignore", isFolder: false))
  }

  @Test func aPathIsTakenApart() {
    let file = SourceFile(path: "Sources/Qcow2/Format/Header+Parse.swift", text: "a\nb")
    #expect(file.module == "Qcow2")
    #expect(file.stem == "Header+Parse")
    #expect(file.fileExtension == "swift")
    #expect(file.lines == ["a", "b"])
    #expect(SourceFile(path: ".ci/run", text: "").fileExtension.isEmpty)
    #expect(SourceFile(path: ".gitignore", text: "").fileExtension.isEmpty)
    #expect(SourceFile(path: "Sources/lonely.swift", text: "").module == nil)
  }

  @Test func aBinaryFileHasNoText() {
    #expect(SourceFile(path: "a.qcow2", bytes: [0x51, 0, 0x49]).text.isEmpty)
    #expect(SourceFile(path: "a.txt", bytes: [0xff, 0xfe]).text.isEmpty)
  }
}
