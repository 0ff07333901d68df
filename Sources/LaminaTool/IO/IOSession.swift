internal import BlockLayer
internal import Execution
internal import Primitives

/// A run of qemu-io: the image that is open, the requests under way, and what went wrong so far.
///
/// One task runs the commands, one after another.
final class IOSession {
  let tool: Tool
  let world: World
  let events: IOEvents
  /// The image that commands work on.
  var image: IOImage?
  /// How it was opened.
  var request = IOOpenRequest()
  private(set) var hasFailed = false
  var hasQuit = false

  init(_ tool: Tool, in world: World) {
    self.tool = tool
    self.world = world
    events = IOEvents(console: tool.console)
  }

  var console: Console { tool.console }

  /// How commands read numbers; warnings go to standard error.
  var numbers: IONumber {
    IONumber { [tool] in tool.console.complain("\(tool.name): \($0)") }
  }

  /// Runs the commands of standard input, with a prompt before each, to the end or to `quit`.
  func runInput() async {
    while !hasQuit {
      console.write("\(tool.name)> ")
      // While it waits for a line, reports are printed as they come.
      guard let line = await events.waiting({ console.readLine() }) else { return }
      await run(line)
    }
  }

  /// Runs one command line; a failure is printed and remembered.
  func run(_ line: String) async {
    let words = line.split(separator: " ").map(String.init)
    guard let name = words.first else { return }
    guard let command = IOCommandTable.command(named: name) else {
      return fail(.complained("command \"\(name)\" not found"), nil)
    }
    do {
      try check(command, words)
      try await command.run(self, words)
    } catch let note as IONote {
      console.print(note.text)
    } catch let failure as IOFailure {
      fail(failure, command)
    } catch let error as BlockError {
      fail(.reported(error.message), command)
    } catch {
      fail(.reported("\(error)"), command)
    }
  }

  private func fail(_ failure: IOFailure, _ command: IOCommandTable.Entry?) {
    hasFailed = true
    switch failure {
    case .said(let text): console.print(text)
    case .complained(let text): console.complain(text)
    case .reported(let text): console.complain("\(tool.name): \(text)")
    case .usage: if let command { console.print(command.line(calledAs: command.name)) }
    case .silent: break
    }
  }

  /// What is wrong with a call before the command itself looks at it.
  private func check(_ command: IOCommandTable.Entry, _ words: [String]) throws(IOFailure) {
    guard !command.needsImage || image != nil else {
      throw .complained("no file open, try 'help open'")
    }
    let count = words.count - 1
    guard command.counts.contains(count) else {
      throw .complained(
        "bad argument count \(count) to \(words[0]), expected \(command.countText)")
    }
    guard !command.writes || image?.isReadOnly != true else {
      throw .reported("Block node is read-only")
    }
  }

  /// The open image; commands that need one are not run without.
  func openImage() throws(IOFailure) -> IOImage {
    guard let image else { throw .complained("no file open, try 'help open'") }
    return image
  }

  /// Lets what is stopped go on, waits for all requests, and closes the image.
  func close() async {
    guard let open = image else { return }
    image = nil
    open.breakpoints?.removeAllBreakpoints()
    await events.finishAll()
    do {
      try await open.close()
    } catch {
      console.complain("\(tool.name): \(error.message)")
      hasFailed = true
    }
  }
}
