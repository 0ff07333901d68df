/// A queue in an array: appended at the end, taken from a moving head.
///
/// Elements are trivial here (jobs, continuations), so those before the head are simply left behind
/// until the array empties or half of it is dead. All operations but removal from the middle are
/// amortised O(1), and a queue that empties now and then allocates nothing after warming up.
internal struct FIFOQueue<Element> {
  private var elements: [Element] = []
  private var head = 0

  var isEmpty: Bool { head == elements.count }

  var count: Int { elements.count - head }

  var first: Element? { isEmpty ? nil : elements[head] }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func popFirst() -> Element? {
    guard !isEmpty else { return nil }
    let element = elements[head]
    head += 1
    if head == elements.count {
      elements.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 64, head * 2 > elements.count {
      elements.removeFirst(head)
      head = 0
    }
    return element
  }

  /// Takes out the first element that satisfies `predicate`; O(count).
  mutating func removeFirst(where predicate: (Element) -> Bool) -> Element? {
    guard let index = elements[head...].firstIndex(where: predicate) else { return nil }
    return elements.remove(at: index)
  }
}
