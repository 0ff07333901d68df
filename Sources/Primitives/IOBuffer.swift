/// An owned piece of memory for I/O, aligned to 4 KiB so that direct I/O may use it.
///
/// It is a value without copies: pass it on with `consuming`, lend its bytes with `bytes` and
/// `mutableBytes`. Memory is returned when it goes out of scope.
public struct IOBuffer: ~Copyable, @unchecked Sendable {
  // Sendable: the pointer is owned by this value alone, and the value cannot be copied.
  @usableFromInline let storage: UnsafeMutableRawBufferPointer

  /// The alignment of the memory, in bytes.
  public static var alignment: Int { 4096 }

  /// Allocates `byteCount` bytes; their contents are undefined unless `zeroed`.
  public init(byteCount: Int, zeroed: Bool = false) {
    precondition(byteCount >= 0, "a buffer has no negative size")
    storage = .allocate(byteCount: max(byteCount, 1), alignment: IOBuffer.alignment)
    count = byteCount
    if zeroed { storage.initializeMemory(as: UInt8.self, repeating: 0) }
  }

  deinit { storage.deallocate() }

  @usableFromInline let count: Int

  /// The size in bytes.
  @inlinable public var byteCount: Int { count }

  /// The contents.
  @inlinable
  public var bytes: RawSpan {
    @_lifetime(borrow self)
    get {
      let span = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: storage[..<count]))
      return _overrideLifetime(span, borrowing: self)
    }
  }

  /// The contents, to be changed.
  @inlinable
  public var mutableBytes: MutableRawSpan {
    @_lifetime(&self)
    mutating get {
      let span = MutableRawSpan(
        _unsafeBytes: UnsafeMutableRawBufferPointer(rebasing: storage[..<count]))
      return _overrideLifetime(span, mutating: &self)
    }
  }
}
