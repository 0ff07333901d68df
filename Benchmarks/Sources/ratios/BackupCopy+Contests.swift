internal import BitmapWorkloads
internal import Foundation
internal import Primitives

/// A full backup of a full disk.
extension BackupCopy {
  func fullBackup() async throws -> Contest {
    try await makeDisk("full.qcow2", size: sizes.data)
    let places = try await write(
      "full.qcow2", at: Array(stride(from: 0, to: sizes.data, by: 1 << 20)), count: 1 << 20)
    let disk = path("full.qcow2")
    let ours = program(Contender.ours) {
      self.remove("backups")
      try await self.removeBitmaps(of: "full.qcow2")
    } _: {
      try ChildProcess.run(
        self.lamina, "backup", "create", disk, "--to", self.path("backups"))
    }
    let contenders =
      [ours] + bareCopies(of: disk, places, count: 1 << 20) + fullPeers(disk, path("copy.qcow2"))
    return Contest(
      operation: "full backup", subject: ByteSize.describe(sizes.data), unit: "MiB",
      unitCount: sizes.data >> 20, contenders: contenders, yardstick: Self.syncedCopy)
  }

  private func fullPeers(_ disk: String, _ copy: String) -> [Contender] {
    var peers: [Contender] = []
    let prepare: () async throws -> Void = { self.remove("copy.qcow2") }
    if let qemuImg {
      // The flag brings the flush at the end that the others make; by default there is none.
      for (name, mode) in [("convert", "writeback"), ("convert unsafe", "unsafe")] {
        peers.append(
          program(name, prepare: prepare) {
            try ChildProcess.run(
              qemuImg, "convert", "-t", mode, "-f", "qcow2", "-O", "qcow2", disk, copy)
          })
      }
    }
    if let daemon {
      peers.append(
        program("daemon") {
          self.remove("copy.qcow2")
          try await self.makeDisk("copy.qcow2", size: self.sizes.data)
        } _: {
          try daemon.backup(disk, to: copy)
        })
    }
    return peers
  }
}

/// An incremental backup of a few granules of a large and empty disk.
extension BackupCopy {
  func incrementalBackup() async throws -> Contest {
    let disk = path("sparse.qcow2")
    try await makeDisk("sparse.qcow2", size: sizes.sparseDisk)
    try ChildProcess.run(lamina, "backup", "create", disk, "--to", path("chain"))
    let granules = Set(
      Pattern.points(sizes.sparseDisk / Self.granularity, count: sizes.dirtyGranules))
    let places = try await write(
      "sparse.qcow2", at: granules.sorted().map { $0 * Self.granularity }, count: Self.granularity)
    let files = FileManager.default
    try files.moveItem(atPath: disk, toPath: path("sparse.kept"))
    try files.copyItem(atPath: path("chain/chain.json"), toPath: path("chain.kept"))
    let renew = {
      self.remove("sparse.qcow2", "chain/chain.json", "chain/000001.qcow2")
      try files.copyItem(atPath: self.path("sparse.kept"), toPath: disk)
      try files.copyItem(atPath: self.path("chain.kept"), toPath: self.path("chain/chain.json"))
    }
    try renew()
    let ours = program(Contender.ours, prepare: renew) {
      try ChildProcess.run(self.lamina, "backup", "create", disk, "--to", self.path("chain"))
    }
    var contenders =
      [ours] + bareCopies(of: path("sparse.kept"), places, count: Self.granularity)
    if let daemon, let bitmap = try await bitmaps(of: "sparse.qcow2").first {
      let overlay = path("chain/copy.qcow2")
      contenders.append(
        program("daemon") {
          try renew()
          self.remove("chain/copy.qcow2")
          try ChildProcess.run(
            self.lamina, "create", "-q", "-f", "qcow2", "-b", "000000.qcow2", "-F", "qcow2",
            overlay)
        } _: {
          try daemon.backup(disk, to: overlay, bitmap: bitmap)
        })
    }
    return Contest(
      operation: "incremental", subject: "\(ByteSize.describe(sizes.sparseDisk)) disk",
      unit: "granule", unitCount: places.count, contenders: contenders,
      yardstick: Self.syncedCopy)
  }
}

/// What moving the bytes costs by itself.
extension BackupCopy {
  static let syncedCopy = "copy, sync"

  /// `pread` of `count` bytes at each place of a file and `pwrite` to a new one, with and without
  /// `fdatasync` at the end.
  func bareCopies(of file: String, _ places: [Int], count: Int) -> [Contender] {
    let buffer = RequestBuffer(count)
    return [(Self.syncedCopy, true), ("copy", false)].map { name, isSynced in
      let prepare = {
        self.remove("bare.copy")
        sync()
      }
      var contender = Contender(requests: name) {
        let source = try BareFile(reading: file)
        let target = try BareFile(creating: self.path("bare.copy"))
        for (index, place) in places.enumerated() {
          source.read(place, into: buffer.bytes)
          target.write(index * count, from: buffer.bytes)
        }
        if isSynced { target.flushData() }
      }
      contender.prepare = prepare
      return contender
    }
  }
}
