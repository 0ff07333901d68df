import BlockLayer
import BlockTestKit
import Execution
import Testing

@testable import BackupJob

/// The machine of states and verbs.
@Suite struct JobStateTests {
  /// §5.2: the states that admit each verb.
  private static let table: [(JobVerb, [JobStatus])] = [
    (.cancel, [.created, .running, .paused, .waiting, .pending]),
    (.pause, [.created, .running, .paused]),
    (.resume, [.created, .running, .paused]),
    (.setSpeed, [.created, .running, .paused]),
    (.complete, []),
    (.finalize, [.pending]),
    (.dismiss, [.concluded]),
  ]

  @Test func theTableIsThatOfTheSpecification() {
    #expect(Self.table.map(\.0) == JobVerb.allCases)
    for (verb, states) in Self.table {
      for status in JobStatus.allCases {
        #expect(status.admits(verb) == states.contains(status), "\(verb) in \(status)")
      }
    }
  }

  @Test(arguments: [
    JobStatus.created, .running, .paused, .pending, .aborting, .concluded,
  ])
  func everyVerbIsAdmittedOrRefusedAsTheTableSays(status: JobStatus) async throws {
    for (verb, states) in Self.table {
      try await simulate(seeds: 0..<1) { world in
        let script = try ScriptedJob(
          world, autoFinalize: status != .pending, autoDismiss: false)
        try await script.bring(to: status)
        let error = await refusal(of: verb, script.job)
        #expect(error?.message == expected(verb, status, states.contains(status)), "\(verb)")
        await script.end()
      }
    }
  }

  /// The verb's own conditions come before or after the table's, as QEMU has them.
  private func expected(_ verb: JobVerb, _ status: JobStatus, _ isAdmitted: Bool) -> String? {
    if verb == .resume, status != .paused {
      return "Can't resume a job that was not paused"
    }
    if verb == .pause, status == .paused { return "Job is already paused" }
    guard !isAdmitted else { return nil }
    return "Job 'j' in state '\(status.rawValue)' cannot accept command verb '\(verb.rawValue)'"
  }

  private func refusal(of verb: JobVerb, _ job: Job) async -> JobError? {
    do throws(JobError) {
      switch verb {
      case .cancel: try job.cancel()
      case .pause: try job.pause()
      case .resume: try job.resume()
      case .setSpeed: try job.setSpeed(1)
      case .complete: try job.complete()
      case .finalize: try await job.finalize()
      case .dismiss: try job.dismiss()
      }
      return nil
    } catch {
      return error
    }
  }

  @Test func anUnforcedCancellationLeavesAPausedJobAlone() async throws {
    try await simulate(seeds: 0..<1) { world in
      let script = try ScriptedJob(world)
      try await script.bring(to: .paused)
      let error = #expect(throws: JobError.self) { try script.job.cancel(force: false) }
      #expect(error?.message == "The block job for device 'j' is currently paused")
      #expect(script.job.status == .paused)
      await script.end()
    }
  }

  @Test func aSpeedIsNotNegative() async throws {
    try await simulate(seeds: 0..<1) { world in
      let script = try ScriptedJob(world)
      let error = #expect(throws: JobError.self) { try script.job.setSpeed(-1) }
      #expect(error?.message == "Parameter 'speed' expects a non-negative value")
      await script.end()
    }
  }

  @Test func aNameIsTakenUntilTheJobIsDismissed() async throws {
    try await simulate(seeds: 0..<1) { world in
      let script = try ScriptedJob(world, autoDismiss: false)
      try await script.bring(to: .concluded)
      let next = Job(
        id: "j", type: "backup", speed: 0, autoFinalize: true, autoDismiss: true,
        registry: script.jobs, body: script.body)
      let error = #expect(throws: JobError.self) { try script.jobs.add(next) }
      #expect(error?.message == "Job ID 'j' already in use")
      #expect(try script.jobs.job("j") === script.job)
      try script.job.dismiss()
      #expect(script.job.status == .null)
      let unknown = #expect(throws: JobError.self) { try script.jobs.job("j") }
      #expect(unknown?.message == "Job not found")
      try script.jobs.add(next)
    }
  }

  @Test(arguments: ["", "1j", "j ob", "jöb", "-j", "j#"])
  func anIllFormedNameIsRefused(id: String) async throws {
    try await simulate(seeds: 0..<1) { world in
      let error = #expect(throws: JobError.self) { try ScriptedJob(world, id: id) }
      #expect(error?.message == "Invalid job ID '\(id)'")
    }
  }

  @Test func theNewestJobComesFirst() async throws {
    try await simulate(seeds: 0..<1) { world in
      let script = try ScriptedJob(world, id: "a.1_b-c")
      let next = Job(
        id: "z", type: "backup", speed: 0, autoFinalize: true, autoDismiss: true,
        registry: script.jobs, body: script.body)
      try script.jobs.add(next)
      #expect(script.jobs.jobs.map(\.id) == ["z", "a.1_b-c"])
    }
  }

  /// A finalization that has begun is not stopped: neither half is torn from the other.
  @Test func theEndCannotBeCancelledOnceItHasBegun() async throws {
    try await simulate(seeds: 0..<1) { world in
      let script = try ScriptedJob(world)
      script.body.hold(finish: true)
      script.job.start()
      while script.job.status != .pending { await world.sleep(nanoseconds: 1_000_000) }
      let error = #expect(throws: JobError.self) { try script.job.cancel() }
      #expect(
        error?.message == "Job 'j' in state 'pending' cannot accept command verb 'cancel'")
      script.body.hold()
      #expect(await script.job.wait() == .success)
      #expect(script.body.ending == .success)
    }
  }

  @Test func whatQueriesTellFollowsTheJob() async throws {
    try await simulate(seeds: 0..<1) { world in
      let script = try ScriptedJob(world, autoDismiss: false)
      try await script.bring(to: .paused)
      try script.job.setSpeed(7)
      #expect(
        script.job.info
          == JobInfo(
            id: "j", type: "backup", status: .paused,
            progress: JobProgress(current: 0, total: 0), speed: 7, isPaused: true,
            isAutoFinalizing: true, isAutoDismissing: false, error: nil))
      try script.job.cancel()
      _ = await script.job.wait()
      #expect(script.job.info.error == "Operation canceled")
    }
  }

  /// Until a transaction is over, only it starts or undoes its jobs; a cancellation waits for that.
  @Test(arguments: [true, false]) func aHeldJobIsNotEndedByItsUser(isUndone: Bool) async throws {
    try await simulate(seeds: 0..<3) { world in
      let jobs = JobRegistry(graph: BlockGraph(world: world, registry: DriverRegistry()))
      let body = ScriptedBody(world)
      let group = JobGroup(held: true)
      let members = ["a", "b"].map { id in
        Job(
          id: id, type: "backup", speed: 0, autoFinalize: true, autoDismiss: true, registry: jobs,
          body: body, group: group)
      }
      for job in members { try jobs.add(job) }
      members[0].start()
      await world.sleep(nanoseconds: 1_000_000)
      #expect(members.map(\.status) == [.created, .created])
      try members[0].cancel()
      await world.sleep(nanoseconds: 1_000_000)
      #expect(members.map(\.status) == [.created, .created])
      if isUndone {
        for job in members.reversed() { await job.abandon() }
      } else {
        members[0].commit()
      }
      for job in members { #expect(await job.wait() == .cancelled) }
      #expect(body.ending == .cancel)
      let ends = jobs.events.take().filter { event in
        if case .statusChanged = event { return false }
        return true
      }
      #expect(ends.isEmpty, "a job that never started tells no end")
    }
  }
}
