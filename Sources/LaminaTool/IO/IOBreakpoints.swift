internal import BlockLayer
internal import SystemPackage

/// `break`, `wait_break`, `resume` and `remove_break`, which drive the blkdebug filter of an image.
extension IOSession {
  func addBreakpoint(_ words: [String]) throws {
    let filter = try breakpoints("Could not set breakpoint")
    guard let event = DebugEvent(rawValue: words[1]) else {
      throw IOFailure.said("Could not set breakpoint: \(Errno.noSuchFileOrDirectory)")
    }
    filter.addBreakpoint(event, tag: words[2])
  }

  func waitForBreakpoint(_ words: [String]) async throws {
    let filter = try breakpoints("Could not wait for breakpoint \(words[1])")
    // No request is under way that could still come to it.
    guard filter.isStopped(at: words[1]) || events.hasRequests else {
      throw IOFailure.said(
        "Could not wait for breakpoint \(words[1]): \(Errno.noSuchFileOrDirectory)")
    }
    await events.waiting { await filter.waitForBreakpoint(words[1]) }
  }

  func resume(_ words: [String]) async throws {
    let filter = try breakpoints("Could not resume request")
    do {
      try await settled { try filter.resume(words[1]) }
    } catch let error as BlockError {
      throw IOFailure.said("Could not resume request: \(error.asHostSays)")
    }
  }

  func removeBreakpoint(_ words: [String]) async throws {
    let name = words[1]
    let filter = try breakpoints("Could not remove breakpoint \(name)")
    do {
      try await settled { try filter.removeBreakpoint(name) }
    } catch let error as BlockError {
      throw IOFailure.said("Could not remove breakpoint \(name): \(error.asHostSays)")
    }
  }

  private func breakpoints(_ what: String) throws(IOFailure) -> BlkdebugDriver {
    guard let filter = try openImage().breakpoints else {
      throw .said("\(what): \(Errno.notSupported)")
    }
    return filter
  }
}
