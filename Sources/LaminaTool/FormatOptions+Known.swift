internal import Lamina
internal import Qcow2

/// The options that formats have, in the order in which qemu-img announces them.
extension FormatOptions {
  private static let size = Description("size", .size, "Virtual disk size")
  private static let preallocation = Description(
    "preallocation", .text, "Preallocation mode (allowed values: off, falloc, full)")

  /// What the file below an image can be made with.
  static let file: [Description] = [
    size, Description("nocow", .flag, "Turn off copy-on-write (valid only on btrfs)"),
    preallocation,
    Description("extent_size_hint", .size, "Extent size hint for the image file, 0 to disable"),
  ]

  /// What raw itself has.
  static let raw: [Description] = [size]

  private static let backing: [Description] = [
    Description("backing_file", .text, "File name of a base image"),
    Description("backing_fmt", .text, "Image format of the base image"),
  ]
  private static let compat = Description(
    "compat", .text, "Compatibility level (v2 [0.10] or v3 [1.1])")
  private static let dataFile: [Description] = [
    Description("data_file", .text, "File name of an external data file"),
    Description(
      "data_file_raw", .flag, "The external data file must stay valid as a raw image"),
  ]
  private static let refcounts: [Description] = [
    Description("lazy_refcounts", .flag, "Postpone refcount updates"),
    Description("refcount_bits", .number, "Width of a reference count entry in bits"),
  ]
  private static let encryption: [Description] = [
    Description(
      "encryption", .flag,
      "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
    Description("encrypt.format", .text, "Encrypt the image, format choices: 'aes', 'luks'"),
    Description(
      "encrypt.key-secret", .text, "ID of secret providing qcow AES key or LUKS passphrase"),
    Description("encrypt.cipher-alg", .text, "Name of encryption cipher algorithm"),
    Description("encrypt.cipher-mode", .text, "Name of encryption cipher mode"),
    Description("encrypt.ivgen-alg", .text, "Name of IV generator algorithm"),
    Description("encrypt.ivgen-hash-alg", .text, "Name of IV generator hash algorithm"),
    Description("encrypt.hash-alg", .text, "Name of encryption hash algorithm"),
    Description("encrypt.iter-time", .number, "Time to spend in PBKDF in milliseconds"),
  ]

  /// What a new qcow2 image has.
  static let qcow2: [Description] =
    encryption + [
      Description("cluster_size", .size, "qcow2 cluster size"),
      Description("extended_l2", .flag, "Extended L2 tables"),
      Description(
        "preallocation", .text,
        "Preallocation mode (allowed values: off, metadata, falloc, full)"),
      Description(
        "compression_type", .text, "Compression method used for image cluster compression"),
      size, compat,
    ] + backing + dataFile + refcounts

  /// What can be changed of one.
  static let amendableQcow2: [Description] =
    [
      Description(
        "encrypt.state", .text, "Select new state of affected keyslots (active/inactive)"),
      Description("encrypt.keyslot", .number, "Select a single keyslot to modify explicitly"),
      Description("encrypt.old-secret", .text, "Select all keyslots that match this password"),
      Description(
        "encrypt.new-secret", .text,
        "New secret to set in the matching keyslots. Empty string to erase"),
      Description("encrypt.iter-time", .number, "Time to spend in PBKDF in milliseconds"),
      size, compat,
    ] + backing + dataFile + refcounts

  /// The formats in which images are made, and what each itself has.
  private static let formats = ["file": file, "qcow2": qcow2, "raw": raw]
  /// Drivers that make no images.
  private static let uncreatable = ["blkdebug", "null-co"]

  /// Throws for the name of a format that there is not.
  static func check(format: String) throws(ToolFailure) {
    guard formats[format] != nil || uncreatable.contains(format) else {
      throw ToolFailure(message: "Unknown file format '\(format)'")
    }
  }

  /// What `format` itself has; throws for a format in which no image is made.
  static func known(_ format: String) throws(ToolFailure) -> [Description] {
    try check(format: format)
    if let own = formats[format] { return own }
    throw ToolFailure(message: "Format driver '\(format)' does not support image creation")
  }

  /// What an image of `format` in a file of the host is made with.
  static func creating(_ format: String) throws(ToolFailure) -> [Description] {
    let own = try known(format)
    return own + file.filter { option in !own.contains { $0.key == option.key } }
  }

  /// What becomes of `-o help`: the options of `format`, and with the name of the new image those
  /// of what it will lie in.
  static func explain(_ format: String, for path: String?, _ tool: Tool) throws(ToolFailure) {
    let known = try path == nil ? known(format) : creating(format)
    if let path { _ = try ImageRequest.hostPath(of: path) }
    tool.console.print(path == nil ? "Supported \(format) options:" : "Supported options:")
    list(known, tool)
    guard path == nil else { return }
    tool.console.print()
    tool.console.print("The protocol level may support further options.")
    tool.console.print("Specify the target filename to include those options.")
  }

  /// Prints what options there are, in alphabetical order.
  static func list(_ options: [Description], _ tool: Tool) {
    for option in options.sorted(by: { $0.key < $1.key }) { tool.console.print(option.line) }
  }

  /// Whether `name` is that of a driver, one of QEMU's others included: an image may say that its
  /// backing file has that format, although we do not open it.
  static func isDriver(_ name: String) -> Bool { drivers.contains(name) }

  private static let drivers: Set<String> = [
    "blkdebug", "blklogwrites", "blkverify", "bochs", "cloop", "compress", "copy-before-write",
    "copy-on-read", "dmg", "file", "ftp", "ftps", "gluster", "host_cdrom", "host_device", "http",
    "https", "iscsi", "iser", "luks", "nbd", "nfs", "null-aio", "null-co", "nvme", "parallels",
    "preallocate", "qcow", "qcow2", "qed", "quorum", "raw", "rbd", "replication",
    "snapshot-access", "ssh", "throttle", "vdi", "vhdx", "vmdk", "vpc", "vvfat",
  ]

  /// A version of the format, by either of its names.
  static func version(_ text: String) -> FormatVersion? {
    ["0.10": .v2, "v2": .v2, "1.1": .v3, "v3": .v3][text]
  }
}
