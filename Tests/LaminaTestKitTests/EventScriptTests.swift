import LaminaTestKit
import Testing

/// Scripts of events, and what they say of events that are not theirs.
@Suite struct EventScriptTests {
  private let end = JobEnd(type: "backup", device: "a", len: 100, offset: 80, speed: 0)

  private func status(_ job: String, _ states: JobStatus...) -> [JobEvent] {
    states.map { .statusChanged(id: job, status: $0) }
  }

  @Test func aScriptAcceptsItsEventsInOrderWithTheirFields() throws {
    let events =
      status("a", .created, .running) + [.failed(device: "a", operation: "read", action: "report")]
      + status("a", .aborting) + [.completed(end, error: "Input/output error")]
      + status("a", .concluded, .null)
    let script: EventScript = [
      .status("a", .created, .running), .failed("a", "read"), .status("a", .aborting),
      .completed("a", len: 100, offset: .within(0...80), error: "Input/output error"),
      .status("a", .concluded, .null),
    ]
    try script.check(events)
    #expect(script.difference(from: events.dropLast())?.index == 6)
    #expect(script.difference(from: events + [events[0]])?.expected == [])
    var swapped = events
    swapped.swapAt(0, 1)
    #expect(script.difference(from: swapped)?.index == 0)
  }

  @Test func everyFieldCounts() {
    let events: [JobEvent] = [.completed(end, error: nil)]
    func differs(_ step: EventScript.Step) -> Bool {
      EventScript([step]).difference(from: events) != nil
    }
    #expect(!differs(.completed("a", len: 100, offset: 80)))
    #expect(!differs(.completed("a", len: .any, offset: .exactly(80))))
    #expect(differs(.completed("b", len: 100, offset: 80)))
    #expect(differs(.completed("a", len: 101, offset: 80)))
    #expect(differs(.completed("a", len: 100, offset: .within(0...79))))
    #expect(differs(.completed("a", len: 100, offset: 80, speed: 1)))
    #expect(differs(.completed("a", len: 100, offset: 80, error: "Input/output error")))
    #expect(differs(.cancelled("a", len: 100, offset: 80)))
    #expect(differs(.pending("a")))
    #expect(differs(.failed("a", "read")))
  }

  @Test func lanesMixInAnyWayButKeepTheirOrder() {
    let script: EventScript = [
      .together(
        [.status("a", .created), .status("a", .running)], [.status("b", .created, .running)])
    ]
    let (a, b) = (status("a", .created, .running), status("b", .created, .running))
    #expect(script.difference(from: a + b) == nil)
    #expect(script.difference(from: [b[0], a[0], a[1], b[1]]) == nil)
    #expect(script.difference(from: [b[1], a[0], a[1], b[0]])?.index == 0)
    #expect(script.difference(from: a)?.expected == ["JOB_STATUS_CHANGE b created"])
  }

  @Test func whatMayHappenMayBeMissing() {
    let script: EventScript = [
      .status("a", .running), .perhaps("a", .waiting), .status("a", .aborting),
    ]
    #expect(script.difference(from: status("a", .running, .waiting, .aborting)) == nil)
    #expect(script.difference(from: status("a", .running, .aborting)) == nil)
    #expect(script.difference(from: status("a", .running, .pending, .aborting))?.index == 1)
  }

  @Test func aDifferenceShowsAllEventsAndWhatWasExpected() {
    let script: EventScript = [
      .status("a", .created, .running), .completed("a", len: 1, offset: 1),
    ]
    let events = status("a", .created, .aborting, .concluded)
    #expect(
      script.difference(from: events)?.description == """
        the events are not those of the script from number 2 on:
            JOB_STATUS_CHANGE a created
          - JOB_STATUS_CHANGE a running
          + JOB_STATUS_CHANGE a aborting
            JOB_STATUS_CHANGE a concluded
        """)
    #expect(throws: LabError.self) { try script.check(events) }
    let missing = script.difference(from: status("a", .created, .running))
    #expect(
      missing?.description.hasSuffix(
        "  - BLOCK_JOB_COMPLETED a len=1 offset=1 speed=0\n  + the end") == true)
  }
}
