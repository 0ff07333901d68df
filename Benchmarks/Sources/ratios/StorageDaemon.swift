internal import Foundation

/// `blockdev-backup` by qemu-storage-daemon, as a black box: started, told by QMP to copy one image
/// into another, told to quit.
struct StorageDaemon {
  let program: String

  /// Copies a qcow2 image into another that is there; answers the most memory that it had.
  ///
  /// With `bitmap`, only what that bitmap of the image marks. Both images have the daemon's usual
  /// cache mode, writeback: through the page cache, flushed when the job and the daemon end.
  func backup(_ source: String, to target: String, bitmap: String? = nil) throws -> Int {
    let nodes = [("source", source), ("target", target)].flatMap { name, path in
      [
        "--blockdev", "driver=file,node-name=\(name)-file,filename=\(path)",
        "--blockdev", "driver=qcow2,node-name=\(name),file=\(name)-file",
      ]
    }
    let daemon = try ChildProcess(
      [program] + nodes + ["--chardev", "stdio,id=stdio", "--monitor", "chardev=stdio"])
    let sync =
      bitmap.map { #""sync":"incremental","bitmap":"\#($0)""# } ?? #""sync":"full""#
    try daemon.send(
      """
      {"execute":"qmp_capabilities"}
      {"execute":"blockdev-backup","arguments":\
      {"job-id":"backup","device":"source","target":"target",\(sync)}}

      """)
    try daemon.read(until: "BLOCK_JOB_COMPLETED")
    try daemon.send(#"{"execute":"quit"}"#)
    return try daemon.wait()
  }
}
