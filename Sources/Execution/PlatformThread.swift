#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#elseif canImport(Darwin)
internal import Darwin
#endif

/// What the module needs from the operating system's threads.
internal enum PlatformThread {
  /// The stack of a World's thread, in bytes: musl's default of 128 KiB would be too little.
  private static let stackBytes = 2 << 20

  /// Starts a thread that runs `body` and ends; nobody joins it.
  ///
  /// The corresponding C function is `pthread_create`.
  static func start(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(ThreadBody(body)).toOpaque()
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(&attributes, stackBytes)
    #if canImport(Darwin)
    var thread: pthread_t?
    let status = pthread_create(&thread, &attributes, threadEntry, box)
    #else
    var thread = pthread_t()
    let status = pthread_create(&thread, &attributes, threadEntry, box)
    #endif
    pthread_attr_destroy(&attributes)
    if status != 0 { trap("no thread could be started for a World: errno \(status)") }
  }

  /// The number of processors that are online, at least 1.
  ///
  /// The corresponding C function is `sysconf`.
  static var processorCount: Int {
    max(1, sysconf(CInt(_SC_NPROCESSORS_ONLN)))
  }

  /// The monotonic clock, in nanoseconds from an arbitrary origin.
  ///
  /// The corresponding C function is `clock_gettime`.
  static func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// The time of day in UTC, in seconds since the beginning of 1970.
  ///
  /// The corresponding C function is `clock_gettime`.
  static func secondsSince1970() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int(time.tv_sec)
  }
}

/// Carries a closure through the `void *` of `pthread_create`.
private final class ThreadBody: Sendable {
  let run: @Sendable () -> Void
  init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

#if canImport(Darwin)
private func threadEntry(_ box: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
  Unmanaged<ThreadBody>.fromOpaque(box).takeRetainedValue().run()
  return nil
}
#else
private func threadEntry(_ box: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  if let box { Unmanaged<ThreadBody>.fromOpaque(box).takeRetainedValue().run() }
  return nil
}
#endif

/// One object reference per thread.
///
/// The corresponding C functions are `pthread_getspecific` and `pthread_setspecific`.
internal struct ThreadSlot<Value: AnyObject>: Sendable {
  private let key: pthread_key_t

  init() {
    var key = pthread_key_t()
    if pthread_key_create(&key, nil) != 0 { trap("no thread-local slot is left") }
    self.key = key
  }

  /// The calling thread's value.
  ///
  /// The slot does not keep it alive, and counts no reference: who sets it does.
  var value: Unmanaged<Value>? {
    pthread_getspecific(key).map { Unmanaged.fromOpaque($0) }
  }

  /// Runs `body` with the calling thread's slot set to `value`, and restores it after.
  func with(_ value: Value, _ body: () -> Void) {
    let previous = pthread_getspecific(key)
    pthread_setspecific(key, Unmanaged.passUnretained(value).toOpaque())
    withExtendedLifetime(value) { body() }
    pthread_setspecific(key, previous)
  }
}
