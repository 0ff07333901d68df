/// What `--help` prints.
extension Tool {
  /// The help of the command that is run, or of the whole tool: qemu-img has one text for all.
  func printHelp() {
    switch persona.kind {
    case .image: printImageHelp()
    case .exerciser: IOHelp.printUsage(self)
    case .lamina:
      guard let command = commands.first(where: { $0.name == verb }) else {
        return printOwnHelp()
      }
      console.print("usage: \(name) \(command.name) \(command.syntax ?? "…")")
      console.print("")
      console.print("\(command.summary)")
    }
  }

  private func printOwnHelp() {
    console.print("usage: \(name) COMMAND [OPTIONS] …")
    console.print("")
    for command in commands {
      let padding = String(repeating: " ", count: max(1, 10 - command.name.count))
      console.print("  \(command.name)\(padding)\(command.summary)")
    }
    console.print("")
    console.print("'\(name) COMMAND --help' tells how a command is called. All but the last take")
    console.print("qemu-img's and qemu-io's options; called through a link that is named qemu-img")
    console.print("or qemu-io, this is that tool.")
  }

  private func printImageHelp() {
    for line in persona.versionLines { console.print(line) }
    console.print("usage: \(name) [standard options] command [command options]")
    console.print("Lamina's tool for disk images")
    console.print("")
    console.print(Self.standardOptions)
    console.print("")
    console.print("Command syntax:")
    for command in commands { console.print("  \(command.name) \(command.syntax ?? "")") }
    console.print("")
    console.print(Self.parameters)
    console.print("")
    console.print("Supported formats: blkdebug file null-co qcow2 raw")
  }

  private static let standardOptions = """
        '-h', '--help'       print this, and do nothing else
        '-V', '--version'    print the version, and do nothing else
        '-T', '--trace'      [[enable=]<pattern>][,events=<file>][,file=<file>]
                             accepted; there is nothing to trace
    """

  private static let parameters = """
    Command parameters:
      'filename' names an image: a path, 'json:{...}', 'blkdebug:config:path', 'null-co://';
        with --image-opts a list of options, 'driver=qcow2,file.filename=path'
      'objectdef' describes a secret, which nothing here needs
      'fmt' is the format of an image; where it is left out, the image is looked at
      'cache' and 'src_cache' are 'none', 'writeback', 'writethrough', 'directsync' or 'unsafe'
      'size' is a number of bytes, or of units with one of the suffixes k, M, G, T, P, E (of 1024)
      'output_fmt' is the format of the new image
      'options' is a list 'name=value,...' of the new image's options; '-o help' lists them
      'snapshot_param' names an internal snapshot: 'snapshot.id=ID,snapshot.name=NAME', or either
      '-c' compresses the new image (qcow2)
      '-h' prints this, with a command or without
      '-n' copies into an image that is there
      '-p' shows progress
      '-q' prints errors only
      '-S' is the number of zero bytes in a row that are worth a hole; 0 makes none
      '-u' takes the backing file's name as it is, without opening it
      '--output' is 'human' or 'json'

    Parameters to bitmap subcommand:
      'bitmap' is the bitmap to which the actions are done, in their order
      '-g granularity' is that of the bitmap that '--add' adds
      '-b source_file' and '-F source_fmt' name the image in which '--merge' finds its source

    Parameters to check subcommand:
      '-r' repairs: 'leaks' nothing but leaked clusters, 'all' whatever it can

    Parameters to convert subcommand:
      '--bitmaps' copies the persistent bitmaps of the source
      '-m' is the number of requests at a time
      '-W' writes in the order in which the source's parts arrive

    Parameters to snapshot subcommand:
      '-a' brings a snapshot's disk back, '-c' creates one, '-d' deletes one, '-l' lists all

    Parameters to compare subcommand:
      '-f' and '-F' are the formats of the first and the second image
      '-s' minds sizes and allocation too
    """
}
