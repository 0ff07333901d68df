internal import BlockLayer
internal import Lamina

/// How an image of qemu-io is opened: what the program's options, or those of `open`, say.
struct IOOpenRequest {
  /// What becomes of writes on their way to the disk.
  struct CacheMode: Sendable {
    /// Whether the host's cache is passed by.
    var isDirect = false
    /// Whether a write is durable when it is over.
    var writesThrough = true
    /// Whether flushes are dropped.
    var ignoresFlush = false

    /// The mode of that name; throws for another.
    init(_ name: String) throws(IOFailure) {
      switch name {
      case "none", "off": (isDirect, writesThrough) = (true, false)
      case "directsync": isDirect = true
      case "writeback": writesThrough = false
      case "unsafe": (writesThrough, ignoresFlush) = (false, true)
      case "writethrough": break
      default: throw .reported("Invalid cache option: \(name)")
      }
    }

    /// qemu-io's own: it writes through.
    init() {}
  }

  /// The name; nil where the options say all.
  var name: String?
  /// Whether the name is a list of options.
  var isOptionList = false
  /// The options of the image, a list each.
  var lists: [String] = []
  var format: String?
  var isReadOnly = false
  var sharesAll = false
  /// Whether changes go to a file that is gone afterwards.
  var isTemporary = false
  var copiesOnRead = false
  var ignoresDiscards = false
  var cache = CacheMode()
  private var usesNativeRequests = false

  /// Takes an option that the program and `open` both have.
  mutating func take(_ letter: Character, _ value: String) throws(IOFailure) {
    switch letter {
    case "r": isReadOnly = true
    case "s": isTemporary = true
    case "U": sharesAll = true
    case "C": copiesOnRead = true
    case "n": cache = try CacheMode("none")
    case "t": cache = try CacheMode(value)
    case "k": usesNativeRequests = true
    case "i":
      guard ["threads", "native", "io_uring"].contains(value) else {
        throw .reported("Invalid aio option: \(value)")
      }
      usesNativeRequests = value == "native"
    case "d":
      guard let mode = ["ignore", "off", "unmap", "on"].firstIndex(of: value) else {
        throw .reported("Invalid discard option: \(value)")
      }
      ignoresDiscards = mode < 2
    case "o": lists.append(value)
    default: break
    }
  }

  /// How messages name the image.
  private var target: String {
    name.map { isOptionList ? "" : " device \(OptionText.printable($0))" } ?? ""
  }

  /// What went wrong with the opening, as qemu-io tells it.
  func failure(_ error: BlockError) -> IOFailure {
    .reported("can't open\(target): \(error.message)")
  }

  /// Throws for options that contradict each other.
  func check() throws(BlockError) {
    if copiesOnRead, isReadOnly {
      throw BlockError(.readOnly, "Can't use copy-on-read on read-only device")
    }
    if sharesAll, !isReadOnly, !isTemporary {
      throw BlockError(
        .invalidArgument, "force-share=on can only be used with read-only images")
    }
    if usesNativeRequests, !cache.isDirect {
      throw BlockError(
        .invalidArgument,
        "aio=native was specified, but it requires cache.direct=on, which was not specified.")
    }
  }

  /// The image, as the opening of names knows it; `complain` gets warnings.
  func imageName(_ complain: (String) -> Void) -> ImageName {
    guard !lists.isEmpty || name == nil else {
      return ImageName(name ?? "", isOptionList: isOptionList)
    }
    var items: [String] = []
    for item in lists.flatMap({ OptionText.items($0) }) {
      if item.contains("=") {
        items.append(item)
      } else {
        complain(
          "warning: short-form boolean option '\(item)' deprecated\nPlease use \(item)=on instead")
        items.append(item + "=on")
      }
    }
    if let name {
      items.append("file.filename=" + (ImageName(name).plainPath ?? name))
      if let scheme = ImageName.scheme(of: name) { items.append("file.driver=\(scheme)") }
    }
    let escaped = items.map { item in
      item.split(separator: ",", omittingEmptySubsequences: false).joined(separator: ",,")
    }
    return ImageName(escaped.joined(separator: ","), isOptionList: true)
  }
}
