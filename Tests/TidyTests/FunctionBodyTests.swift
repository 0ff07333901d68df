import Testing

@Suite struct FunctionBodyTests {
  private func bodies(_ text: String) -> [FunctionBody] {
    SourceFile(path: "A.swift", text: text).functionBodies
  }

  @Test func aBodyIsMeasuredBetweenItsBraces() {
    let text = """
      struct A {
        func one(_ x: () -> Int = { 1 }) async throws(E) -> [Int]
        where T: P {
          if true {
            let s = "}"
          }
        }
        func empty() {}
      }
      """
    #expect(
      bodies(text) == [
        FunctionBody(name: "one", line: 2, lineCount: 3),
        FunctionBody(name: "empty", line: 8, lineCount: 0),
      ])
  }

  @Test func aRequirementHasNoBody() {
    let text = """
      protocol P {
        func one() async throws(E)
        @inlinable func two(
          a: Int)
        init()
        var x: Int { get }
      }
      struct S {
      }
      """
    #expect(bodies(text) == [FunctionBody(name: "x", line: 6, lineCount: 0)])
  }

  @Test func initialisersSubscriptsAndComputedPropertiesHaveBodies() {
    let text = """
      init?(a: Int) {

      }
      deinit {
      }
      subscript(i: Int) -> Int {
        get { 1 }
      }
      var count: Int {
        let a = S.init()
        self.init(a: 1)
        return a
      }
      """
    #expect(bodies(text).map(\.name) == ["init", "deinit", "subscript", "count"])
    #expect(bodies(text).map(\.lineCount) == [1, 0, 1, 3])
  }

  @Test func aStoredPropertyHasNone() {
    #expect(bodies("var x = 1\nif x { a }\nvar y: Int\nwhile y { b }\nlet z: A = .init()") == [])
  }

  @Test func aBraceWithoutPartnerIsFound() {
    func unbalanced(_ text: String) -> Int? {
      SourceFile(path: "A.swift", text: text).unbalancedBrace?.line
    }
    #expect(unbalanced("{\n{ \"}\" }\n}") == nil)
    #expect(unbalanced("{\n{\n}") == 1)
    #expect(unbalanced("{}\n}") == 2)
  }
}
