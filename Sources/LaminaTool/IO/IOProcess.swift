internal import Execution

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// `help`, `sleep`, `sigraise`: commands that need no image.
extension IOSession {
  func help(_ words: [String]) throws {
    guard words.count > 1 else {
      for command in IOCommandTable.all { console.print(command.line(calledAs: command.name)) }
      return console.print(IOHelp.closing)
    }
    guard let command = IOCommandTable.command(named: words[1]) else {
      throw IOFailure.said("command \(words[1]) not found")
    }
    console.print(command.line(calledAs: words[1]))
    if let help = command.help { console.print(help) }
  }

  func sleep(_ words: [String]) async throws {
    guard let milliseconds = NumberText.integer(words[1], in: 0...Int.max) else {
      throw IOFailure.said("\(words[1]) is not a valid number")
    }
    let (nanoseconds, isOver) = UInt64(milliseconds).multipliedReportingOverflow(by: 1_000_000)
    _ = await events.waiting {
      await world.sleep(nanoseconds: isOver ? .max : nanoseconds)
    }
  }

  func raiseSignal(_ words: [String]) throws {
    let number = try numbers.size(words[1])
    guard let signal = Int32(exactly: number), signal <= 65 else {
      throw IOFailure.said(
        "signal argument '\(words[1])' is too large to be a valid signal")
    }
    if signal > 0 { Console.raise(signal) }
  }
}

extension Console {
  /// Ends the process as a crash does, without a word.
  func abort() -> Never {
    signal(SIGABRT, SIG_DFL)
    #if canImport(Glibc)
    Glibc.abort()
    #elseif canImport(Musl)
    Musl.abort()
    #elseif canImport(Darwin)
    Darwin.abort()
    #endif
  }

  /// Raises a signal, which does what it does in any process.
  fileprivate static func raise(_ number: Int32) {
    // The Swift runtime would print a trace.
    signal(number, SIG_DFL)
    #if canImport(Glibc)
    _ = Glibc.raise(number)
    #elseif canImport(Musl)
    _ = Musl.raise(number)
    #elseif canImport(Darwin)
    _ = Darwin.raise(number)
    #endif
  }
}
