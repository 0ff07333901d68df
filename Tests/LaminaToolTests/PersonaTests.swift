import Testing

@testable import LaminaTool

/// The binary is the tool by whose name it is called, and takes options as `getopt_long` does.
struct PersonaTests {
  private func call(_ path: String, _ words: String...) -> (Int32, output: String, errors: String) {
    let console = Console.captured()
    let status = Tool(console: console, persona: Persona(calledAs: path)).run(words)
    return (status, console.printed.output, console.printed.errors)
  }

  @Test(arguments: [
    ("/usr/bin/qemu-img", "qemu-img"), ("qemu-img", "qemu-img"), ("./lamina", "lamina"),
    ("/opt/qemu-img/lamina-1", "lamina"), ("", "lamina"),
  ])
  func messagesHaveTheNameByWhichItIsCalled(path: String, name: String) {
    let answer = call(path, "frobnicate")
    #expect(answer.0 == 1 && answer.output.isEmpty)
    #expect(
      answer.errors
        == "\(name): Command not found: frobnicate\nTry '\(name) --help' for more information\n")
  }

  @Test func qemuImgHasQemusCommandsAlone() {
    #expect(call("qemu-img", "backup").errors.contains("Command not found: backup"))
    #expect(call("qemu-img", "info", "--policy=none", "x").errors.contains("unrecognized option"))
    #expect(!call("lamina", "info", "--policy=none", "x").errors.contains("unrecognized option"))
  }

  @Test func helpComesBeforeEverythingAfterIt() {
    for words in [["--help"], ["-h", "frobnicate"], ["info", "-h", "--bogus"]] {
      let console = Console.captured()
      #expect(Tool(console: console, persona: .image).run(words) == 0)
      #expect(console.printed.output.contains("\nusage: qemu-img [standard options] command"))
      #expect(console.printed.errors.isEmpty)
    }
    #expect(call("qemu-img", "info", "--bogus", "-h").0 == 1)
  }

  /// What `getopt_long` makes of words, as qemu-img prints it.
  @Test(arguments: [
    (["-f"], "missing argument for option '-f'"), (["--format"], "missing argument for option"),
    (["--o", "json"], "unrecognized option '--o'"), (["a", "-xx"], "unrecognized option 'a'"),
    (["-xx"], "unrecognized option 'info'"), (["-x"], "unrecognized option '-x'"),
    (["-U=3"], "unrecognized option 'info'"), (["--help=3"], "unrecognized option '--help=3'"),
    (["--outp", "xml", "a"], "--output must be used with human or json as argument."),
    (["a", "--", "-f"], "Expecting one image file name"),
  ])
  func wrongWordsAreNamedAsGetoptDoes(words: [String], message: String) {
    let console = Console.captured()
    #expect(Tool(console: console, persona: .image).run(["info"] + words) == 1)
    #expect(console.printed.errors.hasPrefix("qemu-img: \(message)"))
  }

  @Test func operandsMayStandAnywhere() throws {
    let parser = OptionParser("f:format= U:force-share :output=")
    let tool = Tool(console: .captured())
    let parsed = try parser.parse(
      ["a", "-Ufraw", "b", "--outp=json", "-", "--", "-f"], of: tool)
    #expect(parsed.operands == ["a", "b", "-", "-f"])
    #expect(parsed.value("format") == "raw" && parsed.value("output") == "json")
    #expect(parsed.items.map(\.name) == ["force-share", "format", "output"])
  }
}
