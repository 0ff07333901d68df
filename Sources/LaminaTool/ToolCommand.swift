/// A command of the tool.
struct ToolCommand: Sendable {
  /// Runs the command in the tool's World: its words after the first, to an exit status.
  typealias Run = @Sendable (Tool, [String]) async throws -> Int32

  let name: String
  /// What it does, in a few words.
  let summary: String
  /// How it is called, after its name, as qemu-img's help has it; nil for our own commands.
  let syntax: String?
  let run: Run

  /// The commands of qemu-img, in the order of its help.
  static let image: [ToolCommand] = [
    ToolCommand(
      name: "amend", summary: "change the properties of an image",
      syntax: "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] "
        + "-o options filename",
      run: AmendCommand.run),
    ToolCommand(
      name: "bench", summary: "measure reads and writes",
      syntax: "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] "
        + "[--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] "
        + "[-t cache] [-w] [-U] filename",
      run: BenchCommand.run),
    ToolCommand(
      name: "bitmap", summary: "change an image's dirty bitmaps, list and draw them",
      syntax: "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... "
        + "[-b source_file [-F source_fmt]] [-g granularity] [--object objectdef] "
        + "[--image-opts | -f fmt] filename bitmap",
      run: BitmapActions.run),
    ToolCommand(
      name: "check", summary: "look for leaks and corruptions",
      syntax: "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] "
        + "[-r [leaks | all]] [-T src_cache] [-U] filename",
      run: CheckCommand.run),
    ToolCommand(
      name: "commit", summary: "bring what an overlay has into its backing file",
      syntax: "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] "
        + "[-r rate_limit] [-d] [-p] filename",
      run: CommitCommand.run),
    ToolCommand(
      name: "compare", summary: "compare the contents of two images",
      syntax: "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] "
        + "[-s] [-U] filename1 filename2",
      run: CompareCommand.run),
    ToolCommand(
      name: "convert", summary: "copy images to another, of any format",
      syntax: "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] "
        + "[--bitmaps] [-U] [-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] "
        + "[-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] [-l snapshot_param] "
        + "[-S sparse_size] [-r rate_limit] [-m num_coroutines] [-W] [--salvage] "
        + "filename [filename2 [...]] output_filename",
      run: ConvertCommand.run),
    ToolCommand(
      name: "create", summary: "make an image",
      syntax: "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] "
        + "[-o options] filename [size]",
      run: CreateCommand.run),
    ToolCommand(
      name: "dd", summary: "copy a part of an image to another",
      syntax: "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] "
        + "[skip=blocks] if=input of=output",
      run: DdCommand.run),
    ToolCommand(
      name: "info", summary: "tell what an image is",
      syntax: "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] "
        + "[-U] filename",
      run: InfoCommand.run),
    ToolCommand(
      name: "map", summary: "tell where an image's bytes are",
      syntax: "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] "
        + "[--max-length=len] [--output=ofmt] [-U] filename",
      run: MapCommand.run),
    ToolCommand(
      name: "measure", summary: "tell how large an image would become",
      syntax: "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] "
        + "[--image-opts] [-f fmt] [-l snapshot_param] filename]",
      run: MeasureCommand.run),
    ToolCommand(
      name: "snapshot", summary: "list, create, apply and delete internal snapshots",
      syntax: "[--object objectdef] [--image-opts] [-U] [-q] "
        + "[-l | -a snapshot | -c snapshot | -d snapshot] filename",
      run: SnapshotCommand.run),
    ToolCommand(
      name: "rebase", summary: "change the backing file that an image names",
      syntax: "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] "
        + "[-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename",
      run: RebaseCommand.run),
    ToolCommand(
      name: "resize", summary: "change the size of a disk",
      syntax: "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] "
        + "[--shrink] filename [+ | -]size",
      run: ResizeCommand.run),
  ]

  /// The commands of `lamina`: those, and our own.
  static let lamina: [ToolCommand] =
    image + [
      ToolCommand(
        name: "io", summary: "read and write an image", syntax: nil, run: IOCommand.run),
      ToolCommand(
        name: "backup", summary: "full and incremental backups", syntax: nil,
        run: { try await $0.perform(BackupCommand.self, $1) }),
    ]
}
