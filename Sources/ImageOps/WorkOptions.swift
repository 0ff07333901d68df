/// How long work on images is done, and watched.
public struct WorkOptions: Sendable {
  /// The most workers; each has a buffer of its own.
  public var workerCount = 8
  /// The size of a worker's buffer in bytes, unless a cluster is larger: what it moves at once.
  public var bufferByteCount = 1 << 20
  /// The most bytes of the disk that are gone over in a second; 0: as many as can be.
  public var bytesPerSecond = 0
  /// Told how many bytes of how many are done, from time to time and at the end; the answer false
  /// ends the work with the error `cancelled`.
  ///
  /// One call at a time, and never fewer bytes than before.
  public var onProgress: @Sendable (_ done: Int, _ total: Int) -> Bool

  /// The usual options.
  public init(
    onProgress: @escaping @Sendable (_ done: Int, _ total: Int) -> Bool = { _, _ in true }
  ) {
    self.onProgress = onProgress
  }
}
