public import Lamina
public import SystemPackage

/// Fault plans for disks of a lab.
extension BlkdebugRules {
  /// The first read of data after a flush fails, once: a backup that is made of a disk just written
  /// to meets it, and its repetition does not.
  ///
  /// Only reads fail, so that metadata that is being written stays whole.
  public static let firstReadAfterFlushFails = BlkdebugRules(
    injectErrors: [InjectError(event: .readAio, state: 2, requests: .read, once: true)],
    setStates: [SetState(event: .flushToDisk, state: 1, newState: 2)])

  /// Every request of `kind` fails with `errno` from the first flush on.
  public static func failing(
    _ kind: RequestKind, errno: Errno = .ioError
  ) -> BlkdebugRules {
    BlkdebugRules(
      injectErrors: [InjectError(event: .flushToDisk, requests: kind, errno: errno)])
  }
}
