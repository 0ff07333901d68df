/// How much of a new part of a disk has its place at once (qemu-img's manual page, "create",
/// option `preallocation`; the QMP schema's `PreallocMode`).
public enum Preallocation: String, Hashable, Sendable, CaseIterable {
  /// Nothing: space is taken when data comes.
  case off
  /// The format's tables name a place for every byte; the host gives space when data comes.
  case metadata
  /// The host has reserved the space too.
  case falloc
  /// The space is written with zeros.
  case full
}
