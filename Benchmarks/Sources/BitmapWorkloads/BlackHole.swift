/// Takes a result, so that the compiler cannot leave out what led to it.
@inline(never)
@_optimize(none)
public func consume(_ value: Int) {}
