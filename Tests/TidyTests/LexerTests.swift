import Testing

@Suite struct LexerTests {
  private func code(_ text: String) -> [String] {
    SourceFile(path: "A.swift", text: text).code.map(\.text)
  }

  @Test func commentsAreNotCode() {
    #expect(code("a // b {\nc /* d /* e */ } */ f") == ["a", "c", "f"])
    #expect(SourceFile(path: "A.swift", text: "a // b").comments.map(\.text) == ["// b"])
  }

  @Test func stringsAreNotCodeButTheirInterpolationsAre() {
    #expect(code(#"x("a { \" b")"#) == ["x", "(", "", ")"])
    #expect(code(#"x("a \(y(") {")) b") z"#) == ["x", "(", "y", "(", "", ")", "", ")", "z"])
    #expect(code("\"\"\"\n { \" \"\"\\(b)\n\"\"\" c") == ["b", "", "c"])
  }

  @Test func rawStringsEndAtTheirOwnHashes() {
    #expect(code(##"#"a " \( { "# b"##) == ["", "b"])
    #expect(code(##"#"a \#(c) "# b"##) == ["c", "", "b"])
    #expect(code("#/ \" { /# b") == ["", "b"])
  }

  @Test func linesAreCountedThroughStringsAndComments() {
    let text = "/*\n\n*/ a \"\"\"\n\n\"\"\"\nb"
    #expect(SourceFile(path: "A.swift", text: text).code.map(\.line) == [3, 3, 6])
  }

  @Test func wordsNumbersAndSignsAreCutApart() {
    #expect(
      code("0..<5 1.5 0x_F a1! #if `in`")
        == ["0", ".", ".", "<", "5", "1.5", "0x_F", "a1", "!", "#if", "`in`"])
  }
}
