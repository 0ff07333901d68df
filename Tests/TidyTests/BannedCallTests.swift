import Testing

/// The rules about calls, each on code that breaks it beside code that keeps it.
@Suite struct BannedCallTests {
  private func problems(_ rule: Rule, _ text: String, in folder: String = "BlockLayer") -> Int {
    rule.problems("Sources/\(folder)/Disk.swift", text).count
  }

  @Test(arguments: BannedCall.all.map(\.text))
  func everyBannedCallIsFoundInCodeAlone(_ call: String) {
    let rule = CallRules.bannedCalls
    #expect(problems(rule, "let a = \(call) b") >= 1)
    #expect(problems(rule, "// \(call)") == 0)
    #expect(problems(rule, "let a = \"\(call)\"") == 0)
    #expect(rule.problems("Tests/A/ATests.swift", call).isEmpty)
  }

  @Test func whatOnlyLooksBannedIsNot() {
    let text = """
      try await a(); try !b; try? c; let x = a as! == b
      func print(_ text: String) {}; out.print("a"); Task.yield(); dispatcher.run()
      struct Dispatcher {}; Task.isCancelled; DispatchTable(); candidate(1); a.time(of: b)
      hash(into: &hasher)
      """
    #expect(problems(CallRules.bannedCalls, text.replacing(" as! ", with: " as? ")) == 0)
    #expect(problems(CallRules.bannedCalls, text) == 1)
  }

  @Test func aTaskIsFoundHoweverItIsSpaced() {
    for text in ["Task{ a }", "Task\n{ a }", "Task  { a }", "_ = Task (priority: .high) {}"] {
      #expect(problems(CallRules.bannedCalls, text) == 1, "\(text)")
    }
  }

  @Test func eachCallIsAllowedInItsOwnRoom() {
    let rule = CallRules.bannedCalls
    #expect(problems(rule, "Task { clock_gettime() }", in: "Execution") == 0)
    #expect(problems(rule, "print(1)", in: "LaminaTool") == 0)
    #expect(problems(rule, "print(1)", in: "Execution") == 1)
    #expect(problems(rule, "try! a()", in: "Execution") == 1)
  }

  @Test func aDrawWithoutGeneratorIsFound() {
    let rule = CallRules.unseeded
    #expect(problems(rule, "Int.random(in: 0..<f(1))") == 1)
    #expect(problems(rule, "a.shuffled()") == 1)
    #expect(problems(rule, "Int.random(\n  in: 0..<f(1),\n  using: &generator)") == 0)
    #expect(problems(rule, "a.shuffle(using: &generator); a.random") == 0)
    #expect(problems(rule, "a.shuffled()", in: "Execution") == 0)
  }

  @Test func unsafeMemoryOutsideItsRoomsIsFound() {
    let rule = CallRules.unsafe
    for text in [
      "a.withUnsafeBytes { _ in }", "let p: UnsafeMutableRawBufferPointer",
      "RawSpan(_unsafeBytes: a)",
      "a.unsafeLoadUnaligned(as: Int.self)", "nonisolated(unsafe) var a = 1",
      "[UInt8](unsafeUninitializedCapacity: 1) { _, _ in }", "UnsafePointer<Int>(a)",
    ] {
      #expect(problems(rule, text) == 1, "\(text)")
      for room in UnsafeTable.allowed { #expect(problems(rule, text, in: room.folder) == 0) }
    }
    #expect(problems(rule, "unsafeRebase(); isUnsafe; // withUnsafeBytes") == 0)
  }

  @Test func workPutOffInACommentIsFound() {
    for mark in CallRules.leftoverMarks.sorted() {
      #expect(problems(CallRules.leftovers, "/// \(mark): later") == 1, "\(mark)")
      #expect(problems(CallRules.leftovers, "a(\"\(mark)\")") == 0, "\(mark)")
      #expect(problems(CallRules.leftovers, "// \(mark)S") == 0, "\(mark)")
    }
  }
}
