import Testing

/// The habits of the house, checked on every file of the repository.
@Suite struct TidyTests {
  @Test(arguments: Rule.all)
  func theRepositoryKeepsTheRule(_ rule: Rule) {
    for problem in rule.problems(in: SourceTree.files) {
      Issue.record("\(problem)")
    }
  }

  @Test func theScanReachesEveryFolderOfTheRepository() {
    let paths = Set(SourceTree.files.map(\.path))
    #expect(paths.isSuperset(of: ["Package.swift", "LICENSE", "Makefile", ".ci/run"]))
    #expect(paths.contains("Tests/TidyTests/TidyTests.swift"))
    #expect(paths.contains("Sources/Primitives/ByteRange.swift"))
    #expect(!paths.contains { $0.hasPrefix(".build") || $0.hasPrefix(".git/") })
  }
}
