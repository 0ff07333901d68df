/// The limits of this module, each with its reason.
public enum BitmapLimits {
  /// The smallest granularity in bytes: a sector, which no write is smaller than.
  public static let minimumGranularity = 512

  /// The largest granularity in bytes, 2 GiB: the largest power of two in QMP's 32-bit argument
  /// (`block-dirty-bitmap-add`) and in a qcow2 directory entry (31 bits).
  public static let maximumGranularity = 1 << 31

  /// The most granules a bitmap can have: the bound QEMU asserts; 288 GiB of address space here,
  /// of which only what is written gets memory.
  public static let maximumGranuleCount = 1 << 41

  /// The longest name in bytes of UTF-8: what fits a qcow2 directory entry and an NBD context.
  public static let maximumNameByteCount = 1023
}
