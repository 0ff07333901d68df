import Testing

/// Each rule on a text that breaks it, beside the nearest text that keeps it: a check that cannot
/// fail checks nothing.
@Suite struct PlantedProblemTests {
  /// The lines where the rule finds a problem.
  private func lines(_ rule: Rule, _ path: String, _ text: String) -> [Int] {
    rule.problems(path, text).map(\.line)
  }

  private let source = "Sources/BlockLayer/Disk.swift"

  // MARK: Imports

  @Test func anImportOutsideTheRowIsFound() {
    let rule = ImportRules.table
    let text = "import Primitives\npublic import SystemPackage\n@_exported import struct Qcow2.A"
    #expect(lines(rule, source, text) == [3])
    #expect(lines(rule, "Sources/Execution/World.swift", text) == [2, 3])
    #expect(lines(rule, "Sources/Lamina/Lamina.swift", text) == [])
  }

  @Test func foundationIsRefusedEverywhereAndItsEssentialsOutsideTheTool() {
    let text = "import Foundation\nimport FoundationEssentials\nimport Synchronization"
    #expect(lines(ImportRules.table, "Sources/Qcow2/Open.swift", text) == [1, 2])
    #expect(lines(ImportRules.table, "Sources/LaminaTool/Info.swift", text) == [1])
  }

  @Test func aFolderWithItsOwnRowIsHeldToIt() {
    let text = "import BlockLayer"
    #expect(lines(ImportRules.table, "Sources/Qcow2/Format/Header.swift", text) == [1])
    #expect(lines(ImportRules.table, "Sources/Qcow2/Open.swift", text) == [])
  }

  @Test func aModuleWithoutRowIsFound() {
    #expect(lines(ImportRules.table, "Sources/Other/A.swift", "") == [0])
  }

  @Test func everyRowNamesModulesThatHaveOneOrComeFromOutside() {
    let outside: Set<String> = [
      "SystemPackage", "ArgumentParser", "FoundationEssentials", "Crypto",
    ]
    let names = Set(ImportTable.rows.values.joined())
    #expect(names.subtracting(ImportTable.rows.keys).subtracting(outside).isEmpty)
  }

  @Test func testableImportsAreFoundInSources() {
    let text = "@testable import Primitives"
    #expect(lines(ImportRules.testable, source, text) == [1])
    #expect(lines(ImportRules.testable, "Tests/ATests/ATests.swift", text) == [])
  }

  @Test func asynchronousCodeIsFoundInPureRooms() {
    let text = "func a() async {}\n// async"
    #expect(lines(ImportRules.synchronous, "Sources/Qcow2/Format/Header.swift", text) == [1])
    #expect(lines(ImportRules.synchronous, "Sources/Qcow2/Open.swift", text) == [])
  }

  // MARK: Shape

  @Test func aLongFileIsFound() {
    let text = String(repeating: "\n", count: 500)
    #expect(lines(ShapeRules.fileLength, source, text) == [])
    #expect(lines(ShapeRules.fileLength, "Tests/A/A.swift", text + "\n") == [0])
  }

  @Test func aModuleOfLongFilesIsFound() {
    let long = String(repeating: "\n", count: 181)
    let files = [("A", long), ("B", long), ("C", "\n")].map {
      SourceFile(path: "Sources/M/\($0).swift", text: $1)
    }
    #expect(ShapeRules.median.problems(in: files).map(\.path) == ["Sources/M"])
    #expect(ShapeRules.median.problems(in: [files[0], files[2]]).isEmpty)
  }

  @Test func aLongBodyIsFound() {
    let body = String(repeating: "\n", count: 61)
    #expect(lines(ShapeRules.bodyLength, source, "\nfunc a() {" + body + "}") == [])
    #expect(lines(ShapeRules.bodyLength, source, "\nfunc a() {\n" + body + "}") == [2])
    #expect(lines(ShapeRules.bodyLength, source, "init() {\n" + body + "}") == [1])
  }

  @Test func aLostBraceIsFound() {
    #expect(lines(ShapeRules.braces, source, "{\n}}") == [2])
  }

  @Test func aLongLineIsFoundByColumnsNotBytes() {
    let line = String(repeating: "é", count: 100)
    #expect(lines(ShapeRules.lineLength, source, line) == [])
    #expect(lines(ShapeRules.lineLength, source, "a\n" + line + "a") == [2])
  }

  @Test func tabsAndWhiteSpaceAtLineEndsAreFound() {
    #expect(lines(ShapeRules.tabs, source, "a\n\tb") == [2])
    #expect(lines(ShapeRules.lineEnds, source, "a \nb\t\nc\r\nd\n") == [1, 2, 3])
    #expect(lines(ShapeRules.lineEnds, "docs/A.md", "a\nb") == [2])
    #expect(lines(ShapeRules.lineEnds, "Makefile", "a \n") == [1])
    #expect(lines(ShapeRules.lineEnds, "Tests/A/golden.txt", "a \nb") == [])
  }

  // MARK: Names

  @Test func aVagueFileNameIsFound() {
    for name in ["Utils", "StringUtils", "Disk+Helpers", "LockManager", "Misc", "Common"] {
      #expect(lines(NameRules.fileName, "Sources/M/\(name).swift", "") == [0], "\(name)")
    }
    #expect(lines(NameRules.fileName, "Sources/M/Commonality.swift", "") == [])
  }

  @Test func aFacetOfAnotherTypeIsFound() {
    let path = "Sources/M/Disk+Read.swift"
    #expect(lines(NameRules.facet, path, "extension Node {}") == [0])
    #expect(lines(NameRules.facet, path, "extension Disk.Part {}") == [])
    #expect(lines(NameRules.facet, "Sources/M/Disk.swift", "") == [])
  }

  @Test func aTestNamedByNumberOrByItsFunctionIsFound() {
    let rule = NameRules.testName
    let path = "Tests/ATests/ATests.swift"
    #expect(lines(rule, path, "@Test func test1() {}") == [1])
    #expect(lines(rule, path, "@Test(.tags(.a)) @MainActor func reads() {}") == [1])
    #expect(lines(rule, path, "@Test func testThatAReadReturnsZeros() {}") == [1])
    #expect(lines(rule, path, "@Test(arguments: [1])\nfunc aHoleReadsAsZeros(_ a: Int) {}") == [])
    #expect(lines(rule, path, "@Test func `a hole reads as zeros`() {}") == [])
    #expect(lines(rule, path, "func test1() {}") == [])
  }

  @Test func aSuiteWithANumberIsFound() {
    let path = "Tests/ATests/ATests.swift"
    #expect(lines(NameRules.suiteName, path, "@Suite(.serialized) struct Tests2 {}") == [1])
    #expect(lines(NameRules.suiteName, path, "@Suite struct DiskTests { struct A1 {} }") == [])
  }

  // MARK: Documents

  @Test func aPageWithoutOrWithTwoTitlesIsFound() {
    #expect(lines(DocumentRules.title, "docs/A.md", "A\n") == [1])
    #expect(lines(DocumentRules.title, "docs/A.md", "# A\n## B\n# C\n") == [3])
    #expect(lines(DocumentRules.title, "docs/A.md", "# A\n```\n# shell\n```\n") == [])
  }

  @Test func aFolderOfOneMachineIsFound() {
    let folder = DocumentRules.machineFolders[0]
    for text in ["see \(folder)/a", "`\(folder)`", "file:\(folder)/a", folder] {
      #expect(lines(DocumentRules.machinePaths, "docs/A.md", text) == [1], "\(text)")
    }
    for text in ["net\(folder)", "\(folder)ing", "$(HOME)\(folder)", ".\(folder)"] {
      #expect(lines(DocumentRules.machinePaths, "docs/A.md", text) == [], "\(text)")
    }
  }

  @Test func aHugeFileIsFound() {
    let rule = DocumentRules.fileSize
    let files = [1 << 20, 1 << 20 + 1].map {
      SourceFile(path: "a\($0)", bytes: [UInt8](repeating: 0, count: $0))
    }
    #expect(rule.problems(in: files).count == 1)
  }

  // MARK: Tree

  @Test func aModuleWithoutReadMeIsFound() {
    let file = SourceFile(path: source, text: "")
    let page = SourceFile(path: "Sources/BlockLayer/README.md", text: "")
    let header = SourceFile(path: "Sources/CLinux/shim.h", text: "")
    #expect(TreeRules.readMe.problems(in: [file, header]).map(\.path) == [page.path])
    #expect(TreeRules.readMe.problems(in: [file, page]).isEmpty)
  }

  @Test func aMutantWithoutLineAndALineWithoutMutantAreFound() {
    let file = SourceFile(path: source, text: "#if MUTANT_A\n#endif\n#if MUTANT_B\n#endif")
    func list(_ text: String) -> SourceFile { SourceFile(path: TreeRules.mutantList, text: text) }
    let rule = TreeRules.mutants
    #expect(rule.problems(in: [file, list("# a\n\nMUTANT_A X\nMUTANT_B Y")]).isEmpty)
    #expect(rule.problems(in: [file, list("MUTANT_A X")]).map(\.path) == [source])
    #expect(rule.problems(in: [list("MUTANT_A X")]).map(\.line) == [1])
    #expect(rule.problems(in: [file, list("MUTANT_A\nMUTANT_B X Y")]).count == 4)
  }
}
