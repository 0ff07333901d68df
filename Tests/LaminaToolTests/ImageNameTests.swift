import Foundation
import Testing

@testable import LaminaTool

/// The names of images: paths, protocols, `json:` and lists of options.
struct ImageNameTests {
  private func call(_ words: [String]) -> (status: Int32, output: String, errors: String) {
    let console = Console.captured()
    let status = Tool(console: console, persona: .image).run(words)
    return (status, console.printed.output, console.printed.errors)
  }

  /// Runs `info` on a raw disk of 4096 bytes by the name that `name` makes of its path.
  private func info(
    _ words: [String] = [], _ name: (String) -> String
  ) throws -> (status: Int32, output: String, errors: String, path: String) {
    var answer: (status: Int32, output: String, errors: String, path: String)?
    try ToolFixture.run { fixture in
      let path = fixture.path("disk")
      try Data(repeating: 7, count: 4096).write(to: URL(filePath: path))
      let said = call(["info"] + words + [name(path)])
      answer = (said.status, said.output, said.errors, path)
    }
    return try #require(answer)
  }

  @Test(arguments: [
    "PATH", "file:PATH", "json:{'file.filename':'PATH'}",
    #"json:{"driver":"raw","file":{"driver":"file","filename":"PATH"}}"#,
  ])
  func oneFileHasManyNames(form: String) throws {
    let answer = try info { form.replacing("PATH", with: $0) }
    #expect(answer.status == 0, "\(answer.errors)")
    #expect(
      answer.output.hasPrefix(
        "image: \(answer.path)\nfile format: raw\nvirtual size: 4 KiB (4096 bytes)\n"))
  }

  @Test func aWindowIsShownByItsOptions() throws {
    let answer = try info(["--image-opts"]) { "driver=raw,offset=1k,size=512,file.filename=\($0)" }
    #expect(
      answer.output.hasPrefix(
        #"image: json:{"offset": "1k", "driver": "raw", "size": "512", "#
          + #""file": {"driver": "file", "filename": "\#(answer.path)"}}"#))
    #expect(answer.output.contains("virtual size: 512 B (512 bytes)"))
  }

  /// What is wrong with a name is told with qemu's words.
  @Test(arguments: [
    ("nosuch:PATH", "Unknown protocol 'nosuch'"),
    ("json:{'driver':'nosuch'}", "Unknown driver 'nosuch'"),
    ("json:{'driver':'qcow2'}", "A block device must be specified for \"file\""),
    ("json:{'driver':'raw','file':'x'}", "Cannot find device='x' nor node-name='x'"),
    (
      "json:{'driver':'raw','file.filename':'PATH','nosuch':1}",
      "Block format 'raw' does not support the option 'nosuch'"
    ),
    (
      "json:{'file':{'filename':'PATH','nosuch':1}}",
      "Block protocol 'file' doesn't support the option 'nosuch'"
    ),
    ("json:{'driver':'file'}", "The 'file' block driver requires a file name"),
    ("json:{'filename':'PATH'}", "Must specify either driver or file"),
    ("json:{", "Could not parse the JSON options: JSON parse error, premature EOI"),
    ("json:[]", "Invalid JSON object given"),
    ("blkdebug:PATH", "blkdebug requires both config file and image path"),
    ("blkdebug:PATHx:PATH", "Could not read blkdebug config file: No such file or directory"),
    ("null-co://1", "The only allowed filename for this driver is 'null-co://'"),
  ])
  func wrongNamesAreRefused(form: String, message: String) throws {
    let answer = try info { form.replacing("PATH", with: $0) }
    #expect(answer.status == 1 && answer.output.isEmpty)
    let name = form.replacing("PATH", with: answer.path)
    #expect(answer.errors == "qemu-img: Could not open '\(name)': \(message)\n")
  }

  @Test func aListOfOptionsHasItsFormatInIt() throws {
    let answer = try info(["--image-opts", "-f", "raw"]) { "driver=raw,file.filename=\($0)" }
    #expect(
      answer.errors == "qemu-img: --image-opts and --format are mutually exclusive\n")
  }

  /// A JSON text, and what is read of it: keys behind dots, or why not.
  @Test(arguments: [
    (#"{"a":1,"b":{"c":"x","d":[true,null]}}"#, "a=1 b.c=x b.d.0=on b.d.1="),
    (#"{'a':"\u0041\n","b":-1.5e3}"#, "a=A\n b=-1.5e3"),
    (#"{"a":{},"b":[]}"#, "a= b="), (#"{"😀":"\ud83d\ude00"}"#, "😀=😀"),
    (#"{"a":1,}"#, "JSON parse error, expecting value"),
    (#"{"a" 1}"#, "JSON parse error, missing : in object pair"),
    (#"{"a":1 "b":2}"#, "JSON parse error, expected separator in dict"),
    (#"{"a":1,"a":2}"#, "JSON parse error, duplicate key"),
    (#"{1:2}"#, "JSON parse error, key is not a string in object"),
    (#"{"a":tru}"#, "JSON parse error, invalid keyword 'tru'"),
    (#"{"a":"\ud800\u0041"}"#, #"JSON parse error, \ud800 is not a valid Unicode character"#),
    (#"{"a":"\udc00"}"#, #"JSON parse error, \udc00 is not a valid Unicode character"#),
    (#"{"a":"\u12"}"#, #"JSON parse error, \u12" is not a valid Unicode character"#),
    (#"{} {}"#, "Expecting at most one JSON value"), ("", "Expecting a JSON value"),
    (String(repeating: "[", count: 100_000), "JSON nesting depth limit exceeded"),
  ])
  func jsonIsReadAsQemuDoes(text: String, meaning: String) {
    do {
      var settings = try #require(NodeSettings(try JSONReader.value(text)))
      let keys = settings.items.map(\.key)
      let said = keys.map { "\($0)=\(settings.take($0) ?? "")" }.joined(separator: " ")
      #expect(said == meaning)
    } catch {
      #expect("\(error)" == meaning)
    }
  }
}
