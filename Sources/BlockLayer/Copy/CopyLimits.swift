/// The limits of the copy engine, in bytes, each with its reason.
public enum CopyLimits {
  /// The smallest copy cluster: below it, the cost of a request outweighs that of its data.
  public static let minimumClusterSize = 64 << 10

  /// How much a worker reads before it writes, unless a cluster is larger: large enough for a disk
  /// to run at full speed, small enough that a guest that waits for it does not notice.
  public static let chunkByteCount = 1 << 20

  /// How long a run of zeros is written with one request: a tebibyte of nothing costs thousands of
  /// requests, not millions, and a guest that waits for one is not stalled.
  public static let zeroByteCount = 64 << 20

  /// The memory that the buffers of one background copy may take.
  public static let bufferByteCount = 128 << 20

  /// The most workers of one background copy: QMP's `x-perf` takes a positive 32-bit integer.
  public static let maximumWorkerCount = Int(Int32.max)
}
