import Foundation
import Testing

/// What became CVEs of programs that use images, tried on the tool: a guest that writes to its raw
/// disk, and images that name files of the host.
///
/// The secret is a file beside the images' folder; nothing may read or change it.
@Suite struct KnownAttackTests {
  private static let secret = Data("the host's secret".utf8) + Data(repeating: 0x53, count: 4096)

  /// A folder with an image folder `in/` and the secret outside of it.
  private func withSecret(_ body: (ToolFixture, _ secret: String) throws -> Void) throws {
    try ToolFixture.run { outer in
      let secret = outer.path("secret")
      try Self.secret.write(to: URL(filePath: secret))
      try FileManager.default.createDirectory(
        atPath: outer.path("in"), withIntermediateDirectories: false)
      try body(ToolFixture(folder: outer.path("in/")), secret)
      #expect(try outer.bytes("secret") == Self.secret, "the secret was written")
    }
  }

  /// The first bytes of a qcow2 image of 1 MiB that names a backing file, or a data file.
  private func header(
    _ tool: ToolFixture, backing: String? = nil, format: String = "raw", dataFile: String? = nil
  ) throws -> Data {
    let name = tool.path("template")
    var words = ["create", "-q", "-f", "qcow2", "-u"]
    if let backing { words += ["-b", backing, "-F", format] }
    #expect(tool.lamina(words + [name, "1M"]).status == 0)
    var bytes = try tool.bytes("template")
    try FileManager.default.removeItem(atPath: name)
    if let dataFile {
      bytes[79] |= 4
      let text = Array(dataFile.utf8)
      var extensionBytes: [UInt8] = [0x44, 0x41, 0x54, 0x41, 0, 0, 0, UInt8(text.count)] + text
      extensionBytes += Array(repeating: 0, count: (8 - extensionBytes.count % 8) % 8 + 8)
      bytes.replaceSubrange(112..<112 + extensionBytes.count, with: extensionBytes)
    }
    return bytes
  }

  private func make(_ tool: ToolFixture, _ name: String, _ bytes: Data) throws {
    try bytes.write(to: URL(filePath: tool.path(name)))
  }

  // MARK: - A guest that writes to its raw disk

  // Also CVE-2010-2237 to CVE-2010-2239, CVE-2011-3147, CVE-2014-0134.
  @Test("CVE-2008-2004, CVE-2026-27211: a raw disk that was guessed to be one stays raw")
  func aGuestCannotMakeItsRawDiskAnotherFormat() throws {
    try withSecret { tool, secret in
      try make(tool, "disk", Data(count: 1 << 20))
      // The magic in one write, and by parts.
      let writes = ["write -P 0x51 0 1", "write -P 0x46 1 1", "write -P 0x49 2 1"]
      for write in writes { #expect(tool.lamina("io", "-c", write, tool.path("disk")).status == 0) }
      #expect(tool.lamina("io", "-c", "write -P 3 7 1", tool.path("disk")).status == 0)
      let last = tool.lamina("io", "-c", "write -P 0xfb 3 1", tool.path("disk"))
      #expect(last.status != 0)
      #expect((last.output + last.errors).contains("guessed to be raw"), "\(last)")
      #expect(try tool.bytes("disk").prefix(4) == Data([0x51, 0x46, 0x49, 0]))
      // Elsewhere, and with the format stated, the guest is free.
      #expect(
        tool.lamina("io", "-c", "write -P 0xfb 3072 512", tool.path("disk")).status == 0)
      #expect(
        tool.lamina("io", "-f", "raw", "-c", "write -P 0xfb 3 1", tool.path("disk")).status == 0)
    }
  }

  @Test(
    "CVE-2026-24708: resizing a raw disk that its guest made a qcow2 image harms no file")
  func resizingAGuestsDisk() throws {
    try withSecret { tool, secret in
      try make(tool, "disk", try header(tool, dataFile: secret))
      try tool.expectRefusal("state the format", "resize", tool.path("disk"), "2M")
      try tool.expectRefusal("state the format", "io", "-c", "write 0 512", tool.path("disk"))
      #expect(tool.lamina("resize", "-q", "-f", "raw", tool.path("disk"), "2M").status == 0)
      #expect(try tool.bytes("disk").count == 2 << 20)
    }
  }

  // MARK: - Images that name files of the host

  @Test(
    "CVE-2015-1850, CVE-2015-1851, CVE-2015-5163, CVE-2022-47951: no backing file is followed out",
    arguments: ["secret", "../secret", "in/../../secret"])
  func backingFilesOutsideOfTheFolder(name: String) throws {
    try withSecret { tool, secret in
      let backing = name == "secret" ? secret : name
      try make(tool, "upload", try header(tool, backing: backing))
      for verb in ["map", "info"] {
        let extra = verb == "info" ? ["--backing-chain"] : []
        let result = tool.lamina([verb, "--policy", "confined"] + extra + [tool.path("upload")])
        #expect(result.status != 0 && result.errors.contains("not opened"), "\(result)")
      }
      #expect(tool.lamina("info", tool.path("upload")).status == 0, "looking follows nothing")
    }
  }

  @Test("CVE-2024-40767, CVE-2024-44082: what is said to be raw is raw, whatever it looks like")
  func anImageThatIsDeclaredRaw() throws {
    try withSecret { tool, secret in
      let bytes = try header(tool, backing: secret)
      try make(tool, "upload", bytes)
      #expect(
        tool.lamina("io", "-r", "-f", "raw", "-c", "read -P 0x51 0 1", tool.path("upload")).status
          == 0)
      let told = tool.lamina("info", "-f", "raw", tool.path("upload"))
      #expect(told.output.contains("file format: raw") && !told.output.contains("secret"))
    }
  }

  @Test("CVE-2024-32498: a data file that the image names is not opened by the confined policy")
  func dataFilesOutsideOfTheFolder() throws {
    try withSecret { tool, secret in
      for name in [secret, "../secret", "inside"] {
        try make(tool, "upload", try header(tool, dataFile: name))
        try make(tool, "inside", Data(count: 512))
        try tool.expectRefusal("not opened", "map", "--policy", "confined", tool.path("upload"))
      }
    }
  }

  @Test("CVE-2024-4467: looking at an image opens nothing that it names, and parses no json:")
  func dataFilesThatAreNoFiles() throws {
    try withSecret { tool, secret in
      let names = [
        #"json:{"driver":"file","filename":"\#(secret)"}"#, "nbd://127.0.0.1:1/x", "fifo",
      ]
      mkfifo(tool.path("fifo"), 0o600)
      for name in names {
        try make(tool, "upload", try header(tool, dataFile: name))
        #expect(tool.lamina("info", tool.path("upload")).status == 0, "\(name)")
        #expect([0, 3].contains(tool.lamina("check", tool.path("upload")).status), "\(name)")
        let opened = tool.lamina("map", tool.path("upload"))
        #expect(opened.status != 0, "\(name)")
        #expect(opened.errors.contains("not") && opened.errors.contains("open"), "\(opened)")
      }
    }
  }

  @Test func aLinkLeadsInfoOutOfTheFolderNoMoreThanAnOpening() throws {
    try withSecret { tool, secret in
      try FileManager.default.createSymbolicLink(
        atPath: tool.path("link"), withDestinationPath: secret)
      try make(tool, "upload", try header(tool, backing: "link"))
      for words in [["map"], ["info", "--backing-chain"]] {
        let result = tool.lamina(words + ["--policy", "confined", tool.path("upload")])
        #expect(result.status != 0 && result.errors.contains("links lead it out"), "\(result)")
      }
    }
  }

  @Test func aChainThatLeadsBackByAnotherNameIsSeenAtOnce() throws {
    try withSecret { tool, _ in
      try FileManager.default.createSymbolicLink(
        atPath: tool.path("again"), withDestinationPath: "a")
      for name in ["././a", "again"] {
        try make(tool, "a", try header(tool, backing: name, format: "qcow2"))
        try tool.expectRefusal("infinite loop", "info", "--backing-chain", tool.path("a"))
        try tool.expectRefusal("infinite loop", "map", tool.path("a"))
      }
    }
  }

  // MARK: - Names that steer a terminal

  @Test func namesInImagesDoNotReachATerminalAsTheyAre() throws {
    try withSecret { tool, _ in
      let name = "\u{1b}[2J\u{9b}31mred\u{7f}"
      #expect(
        tool.lamina(
          "create", "-q", "-f", "qcow2", "-u", "-b", name, "-F", "raw", tool.path("a"), "1M"
        ).status == 0)
      var bytes = try tool.bytes("a")
      // The format's name too.
      let format = try #require(bytes.firstRange(of: Data([0xe2, 0x79, 0x2a, 0xca])))
      bytes.replaceSubrange(
        format.lowerBound + 8..<format.lowerBound + 11, with: [0x1b, 0x5b, 0x4a])
      try make(tool, "a", bytes)
      for words in [
        ["info"], ["info", "--output=json"], ["info", "--backing-chain"], ["map"], ["check"],
        ["snapshot", "-l"], ["io", "-c", "read 0 512"],
      ] {
        let result = tool.lamina(words + [tool.path("a")])
        let text = result.output + result.errors
        let controls = text.unicodeScalars.filter {
          ($0.value < 0x20 && $0 != "\n" && $0 != "\t") || (0x7f..<0xa0).contains($0.value)
        }
        #expect(controls.isEmpty, "\(words): \(controls.map(\.value))")
      }
    }
  }
}
