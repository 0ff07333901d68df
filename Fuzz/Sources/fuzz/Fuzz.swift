#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The fuzzer: libFuzzer's driver over one of the targets (`make fuzz`).
///
///     fuzz TARGET [libFuzzer's options] [FOLDERS OF INPUTS]
///     fuzz seeds TARGET FOLDER
@main struct Fuzz {
  static func main() {
    let words = CommandLine.arguments
    if words.count == 4, words[1] == "seeds", let target = FuzzTarget.named(words[2]) {
      target.writeSeeds(to: words[3])
    } else if words.count > 1, let target = FuzzTarget.named(words[1]) {
      run(target)
    } else {
      print("fuzz TARGET … or fuzz seeds TARGET FOLDER, where TARGET is one of")
      for target in FuzzTarget.all { print("  \(target.name): \(target.summary)") }
    }
  }

  /// Never returns but at the end of what libFuzzer was told to do.
  private static func run(_ target: FuzzTarget) {
    Running.target = target
    // The target's name is no option of libFuzzer's.
    var count = CommandLine.argc - 1
    var arguments = CommandLine.unsafeArgv + 1
    arguments[0] = CommandLine.unsafeArgv[0]
    exit(
      runFuzzer(&count, &arguments) { bytes, count in
        Running.target?.run(Array(UnsafeBufferPointer(start: bytes, count: count)))
        return 0
      })
  }
}

/// What libFuzzer's callback, which has no context, calls.
private enum Running {
  nonisolated(unsafe) static var target: FuzzTarget?
}

/// libFuzzer's entry for programs with a `main` of their own.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ callback: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt
