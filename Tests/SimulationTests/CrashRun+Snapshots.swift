import BlockLayer
import BlockTestKit
import Primitives
import Synchronization

/// Snapshots in a run; guests are at rest meanwhile.
extension CrashRun {
  /// Makes a snapshot of what the guest sees.
  func createSnapshot(_ name: String, _ image: ImageFixture) async throws {
    let contents = try await image.backend.read(at: 0, count: image.backend.length)
    let made = SnapshotExpectation(name: name, contents: contents)
    try await changeSnapshots({ $0 + [made] }) {
      try await image.graph.createSnapshot(named: name, of: image.node)
    }
    // It made all durable that had been written.
    expect { $0.model.endFlush($0.model.beginFlush()) }
  }

  /// Goes back to the first snapshot with another in between, works on, and deletes one.
  func changeSnapshots(_ image: ImageFixture) async throws {
    try await createSnapshot("second", image)
    let target = state.withLock { $0.expectation.snapshots[0][0] }
    var contents = SparseImage(target.contents)
    contents.resize(to: scenario.finalSize)
    let model = ModelDisk(contents)
    expect { expectation in
      expectation.otherModel = model
      expectation.sizes.insert(target.contents.count)
    }
    try await image.graph.applySnapshot(.name("first"), to: image.node)
    expect { expectation in
      expectation.model = model
      expectation.otherModel = nil
      expectation.sizes = [target.contents.count]
    }
    await work(part: 2, image.backend, length: target.contents.count)
    try await changeSnapshots({ Array($0.dropFirst()) }) {
      try await image.graph.deleteSnapshot(.name("first"), of: image.node)
    }
    expect { $0.model.endFlush($0.model.beginFlush()) }
  }

  private func changeSnapshots(
    _ change: ([SnapshotExpectation]) -> [SnapshotExpectation], body: () async throws -> Void
  ) async throws {
    let new = change(state.withLock { $0.expectation.snapshots[0] })
    expect { $0.snapshots.append(new) }
    try await body()
    expect { $0.snapshots = [new] }
  }
}
