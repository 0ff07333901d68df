import Foundation
import QEMUTools
import Testing

/// New, resized and amended images beside those of qemu-img: the same bytes where it is told
/// which, the same texts, and images that either tool finds sound and reads alike.
@Suite(.serialized, .enabled(if: QEMUTools.areInstalled, "\(QEMUTools.absence)"))
struct SizeOracleTests {
  /// Options of `create` with which images are byte for byte qemu-img's.
  static let layouts: [(options: String, size: String)] = [
    ("compat=1.1", "64M"), ("compat=0.10", "64M"), ("cluster_size=512", "1M"),
    ("cluster_size=2M", "1M"), ("refcount_bits=64", "1M"), ("lazy_refcounts=on", "64M"),
    ("compression_type=zstd", "64M"), ("extended_l2=on", "2M"), ("compat=v3", "0"),
    ("preallocation=metadata", "16M"), ("preallocation=metadata", "100000"),
    ("preallocation=metadata,extended_l2=on", "8M"), ("data_file=d.data", "1M"),
    ("data_file=d.data,data_file_raw=on", "1M"), ("data_file=d.data,preallocation=full", "1M"),
    ("extended_l2=on,cluster_size=16k,preallocation=metadata", "3M"),
  ]

  @Test(arguments: layouts.indices)
  func newImagesAreByteForByteThose(index: Int) throws {
    let (options, size) = Self.layouts[index]
    try Oracle.withFolder { folder in
      var files: [[Data]] = []
      for isOurs in [false, true] {
        // qemu-img makes data files where it stands, and looks for them beside the image.
        let inFolder = options.replacing("d.data", with: isOurs ? "d.data" : folder + "d.data")
        let words = ["create", "-f", "qcow2", "-o", inFolder, folder + "a.qcow2", size]
        let answer = isOurs ? Oracle.lamina(words) : try QEMUTools.run("qemu-img", words)
        #expect(answer.status == 0, "\(options): \(answer.errors)")
        files.append(
          try ["a.qcow2", "d.data"].map { name in
            let url = URL(filePath: folder + name)
            defer { try? FileManager.default.removeItem(at: url) }
            guard FileManager.default.fileExists(atPath: url.path()) else { return Data() }
            return try Data(contentsOf: url)
          })
      }
      guard !options.contains("data_file") else {
        // The names in the headers differ; the tables behind them do not.
        #expect(files[0][0].count == files[1][0].count, "\(options)")
        #expect(files[0][0].dropFirst(65536) == files[1][0].dropFirst(65536), "\(options)")
        #expect(files[0][1] == files[1][1], "\(options)")
        return
      }
      #expect(files[0] == files[1], "\(options) \(size): \(files.map { $0.map(\.count) })")
    }
  }

  @Test(arguments: ["metadata", "falloc", "full"])
  func preallocatedImagesTakeTheSameSpace(mode: String) throws {
    try Oracle.withFolder { folder in
      var sizes: [[Int]] = []
      for isOurs in [false, true] {
        let words = ["create", "-f", "qcow2", "-o", "preallocation=\(mode)", folder + "a", "600M"]
        let answer = isOurs ? Oracle.lamina(words) : try QEMUTools.run("qemu-img", words)
        #expect(answer.status == 0, "\(mode): \(answer.errors)")
        let values = try URL(filePath: folder + "a").resourceValues(forKeys: [
          .fileSizeKey, .totalFileAllocatedSizeKey,
        ])
        // Of the tables, the file system may give what was not written.
        let allocated = (values.totalFileAllocatedSize ?? 0) >> 20
        sizes.append([values.fileSize ?? 0, allocated])
        let check = try QEMUTools.run("qemu-img", ["check", "-f", "qcow2", folder + "a"])
        #expect(check.status == 0 && check.output.contains("9600/9600 = 100.00% allocated"))
      }
      #expect(sizes[0] == sizes[1], "\(mode)")
    }
  }

  /// Commands that both tools must answer alike: what they print, and their status.
  static let commands: [[String]] = [
    ["create", "-f", "qcow2", "-o", "preallocation=bogus", "n", "1M"],
    ["create", "-f", "qcow2", "-o", "data_file_raw=on", "n", "1M"],
    ["create", "-f", "qcow2", "-o", "data_file=d,compat=0.10", "n", "1M"],
    ["create", "-f", "qcow2", "-o", "compat=0.10,lazy_refcounts=on", "n", "1M"],
    ["create", "-f", "qcow2", "-o", "refcount_bits=3", "n", "1M"],
    ["create", "-f", "qcow2", "-o", "size=1M", "n", "2M"],
    ["create", "-f", "qcow2", "-o", "foo=1", "n", "1M"],
    ["create", "-f", "raw", "-o", "cluster_size=1", "n", "1M"],
    ["create", "-f", "raw", "-o", "preallocation=metadata", "n", "1M"],
    ["create", "-f", "raw", "-o", "preallocation=full", "n", "1M"],
    ["create", "-f", "qcow2", "-o", "preallocation=metadata,lazy_refcounts=on", "n", "1M"],
    ["resize", "a", "512K"], ["resize", "a", "-512K"], ["resize", "a", "+1M"],
    ["resize", "a", "1M"],
    ["resize", "a", "+100"], ["resize", "a", "xx"], ["resize", "a", "-3G"], ["resize", "a"],
    ["resize", "--preallocation=bogus", "a", "2M"], ["resize", "-q", "a", "2M"],
    ["resize", "--shrink", "--preallocation=full", "a", "512K"],
    ["resize", "--preallocation=falloc", "a", "1M"], ["resize", "--shrink", "a", "512K"],
    ["resize", "--preallocation=metadata", "-f", "raw", "r", "2M"],
    ["resize", "--preallocation=full", "-f", "raw", "r", "2M"],
    ["resize", "--shrink", "-f", "raw", "r", "512K"],
    ["amend", "a"], ["amend", "-o", "cluster_size=4096", "a"], ["amend", "-o", "bogus=1", "a"],
    ["amend", "-o", "compat=0.11", "a"], ["amend", "-o", "refcount_bits=3", "a"],
    ["amend", "-o", "compat=0.10,refcount_bits=8", "a"], ["amend", "-o", "data_file=x", "a"],
    ["amend", "-o", "compat=0.10,lazy_refcounts=on", "a"], ["amend", "-o", "size=3000000", "a"],
    ["amend", "-o", "data_file_raw=on", "a"], ["amend", "-o", "lazy_refcounts=maybe", "a"],
    ["amend", "-o", "compat=0.10", "e"], ["amend", "-o", "compat=1.1", "a", "b"],
    ["amend", "-f", "raw", "-o", "size=2M", "r"], ["amend", "-o", "compat=0.10", "a"],
    ["amend", "-o", "refcount_bits=8,lazy_refcounts=on,size=3M", "a"],
  ]

  @Test(arguments: commands)
  func bothToolsAnswerAlike(words: [String]) throws {
    try Oracle.withFolder { folder in
      let command = words.map { ["a", "b", "e", "n", "r"].contains($0) ? folder + $0 : $0 }
      var answers: [Oracle.Answer] = []
      for isOurs in [false, true] {
        try QEMUTools.run("qemu-img", ["create", "-q", "-f", "qcow2", folder + "a", "1M"])
        try QEMUTools.run(
          "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", folder + "e", "1M"])
        try QEMUTools.run("qemu-img", ["create", "-q", "-f", "raw", folder + "r", "1M"])
        var answer = isOurs ? Oracle.lamina(command) : try QEMUTools.run("qemu-img", command)
        answer.errors = answer.errors.replacing("qemu-img", with: "lamina")
        answers.append(answer)
      }
      #expect(answers[1] == answers[0], "\(words)")
    }
  }

  private static let changes = [
    "amend -o refcount_bits=1", "amend -o refcount_bits=64", "amend -o compat=0.10",
    "amend -o lazy_refcounts=on", "amend -o size=9M", "resize --shrink 3M", "resize 20M",
    "resize --shrink 900K", "resize --preallocation=metadata 11M",
    "resize --preallocation=full 6M", "resize --shrink 512",
  ]

  private static let kinds = [
    "cluster_size=64k", "cluster_size=512", "cluster_size=4k,compat=0.10",
    "extended_l2=on,cluster_size=16k",
  ]

  /// All changes of all kinds of images, or a few.
  static let pairs: [(change: String, options: String)] = {
    let all = changes.flatMap { change in kinds.map { (change, $0) } }
    return Oracle.isLong ? all : stride(from: 0, to: all.count, by: 7).map { all[$0] }
  }()

  @Test(arguments: pairs.indices)
  func whatOneToolChangesTheOtherFindsSound(index: Int) throws {
    let (change, options) = Self.pairs[index]
    try Oracle.withFolder { folder in
      if options.contains("extended_l2"), change.contains("compat=0.10") { return }
      let needsVersion3 = change.contains("refcount_bits") || change.contains("lazy_refcounts")
      if needsVersion3, options.contains("compat=0.10") { return }
      let image = folder + "a"
      let words = change.split(separator: " ").map(String.init)
      let command =
        words[0] == "resize"
        ? words.dropLast() + ["-f", "qcow2", image, words[words.count - 1]]
        : words + ["-f", "qcow2", image]
      for isOurs in [true, false] {
        try make(image, options)
        let run =
          isOurs ? Oracle.lamina(Array(command)) : try QEMUTools.run("qemu-img", Array(command))
        #expect(run.status == 0, "\(change): \(run.errors)")
        let theirs = try QEMUTools.run("qemu-img", ["check", "-f", "qcow2", image])
        #expect(theirs.status == 0, "\(change) \(options): \(theirs.output)")
        let ours = Oracle.lamina(["check", "-f", "qcow2", image])
        #expect(ours.status == 0, "\(change) \(options): \(ours.output)")
        try expectContents(folder, "\(change) \(options) \(isOurs ? "ours" : "theirs")")
        let info = ["info", image]
        #expect(Oracle.lamina(info) == (try QEMUTools.run("qemu-img", info)))
      }
    }
  }

  private func make(_ image: String, _ options: String) throws {
    try QEMUTools.run("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, image, "5M"])
    let commands = [
      "write -P 1 0 900k", "write -P 2 2M 2100k", "write -z 100k 64k", "discard 3M 64k",
    ]
    try QEMUTools.run(
      "qemu-io", ["-f", "qcow2"] + commands.flatMap { ["-c", $0] } + [image])
  }

  /// The image shows what it was given, as far as it reaches, and zeros behind.
  private func expectContents(_ folder: String, _ what: String) throws {
    var bytes = [UInt8](repeating: 0, count: 20 << 20)
    bytes.replaceSubrange(0..<900 << 10, with: repeatElement(1, count: 900 << 10))
    bytes.replaceSubrange(2 << 20..<4148 << 10, with: repeatElement(2, count: 2100 << 10))
    for range in [100 << 10..<164 << 10, 3072 << 10..<3136 << 10] {
      bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
    try QEMUTools.run(
      "qemu-img", ["convert", "-f", "qcow2", "-O", "raw", folder + "a", folder + "o"])
    let shown = try Data(contentsOf: URL(filePath: folder + "o"))
    #expect(shown == Data(bytes.prefix(shown.count)), "\(what)")
  }
}
