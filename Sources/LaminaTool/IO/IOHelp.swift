/// What `help COMMAND` tells besides a command's own line.
enum IOHelp {
  static let read = """

     Reads bytes from an offset; a pattern is compared with what was read.

     Example:
     'read -v 512 1k' - shows the kilobyte behind the first sector

     -b, -- the machine's saved state instead of the disk
     -C, -- statistics as one line of numbers
     -l, -- compare so many bytes only (with -P)
     -p, -- has no meaning any more
     -P, -- the byte that all of them must be
     -q, -- no statistics
     -s, -- compare from this byte of them on (with -P)
     -v, -- show the bytes

    """

  static let write = """

     Writes bytes of 0xcd, or what the options say, at an offset.

     Example:
     'write 512 1k' - fills the kilobyte behind the first sector

     -b, -- the machine's saved state instead of the disk
     -c, -- store the clusters compressed
     -C, -- statistics as one line of numbers
     -f, -- the bytes are durable before it is over (FUA)
     -n, -- with -z, fail where zeros can only be written as data
     -p, -- has no meaning any more
     -P, -- the byte to write
     -q, -- no statistics
     -s, -- write what this file holds, as often as it takes
     -u, -- with -z, the space may be given up
     -z, -- write zeros by the image's own means

    """

  static let discard = """

     Tells that bytes from an offset are no longer needed.

     Example:
     'discard 512 1k' - gives up the kilobyte behind the first sector

     -C, -- statistics as one line of numbers
     -q, -- no statistics

    """

  static let readVector = """

     Reads bytes from an offset in one request: as many as all lengths together.

     Example:
     'readv -v 512 1k 1k' - shows the two kilobytes behind the first sector

     -C, -- statistics as one line of numbers
     -P, -- the byte that all of them must be
     -q, -- no statistics
     -v, -- show the bytes

    """

  static let writeVector = """

     Writes bytes of 0xcd at an offset in one request: as many as all lengths together.

     Example:
     'writev 512 1k 1k' - fills the two kilobytes behind the first sector

     -C, -- statistics as one line of numbers
     -f, -- the bytes are durable before it is over (FUA)
     -P, -- the byte to write
     -q, -- no statistics

    """

  static let startRead = """

     Begins a read, and does not wait for it: 'aio_flush' does. What becomes of it is
     printed when it is over, and is no failure of the command.

     Example:
     'aio_read -v 512 1k 1k' - shows the two kilobytes behind the first sector, in time

     -C, -- statistics as one line of numbers
     -i, -- count a request that was not valid, and make none
     -P, -- the byte that all of them must be
     -q, -- no statistics
     -v, -- show the bytes

    """

  static let startWrite = """

     Begins a write, and does not wait for it: 'aio_flush' does. What becomes of it is
     printed when it is over, and is no failure of the command.

     Example:
     'aio_write 512 1k 1k' - fills the two kilobytes behind the first sector, in time

     -C, -- statistics as one line of numbers
     -f, -- the bytes are durable before it is over (FUA)
     -i, -- count a request that was not valid, and make none
     -P, -- the byte to write
     -q, -- no statistics
     -u, -- with -z, the space may be given up
     -z, -- write zeros by the image's own means

    """

  static let open = """

     Opens an image for the commands that follow.

     Example:
     'open -n -o driver=raw /tmp/data' - opens raw data for reading and writing

     -C, -- keep what is read from the backing file (copy on read)
     -d, -- what becomes of discards
     -i, -- how requests reach the host
     -k, -- the same as -i native
     -n, -- the same as -t none
     -o, -- options of the image, as --image-opts has them
     -r, -- for reading only
     -s, -- changes go to a file that is gone afterwards
     -t, -- how writes are cached
     -U, -- although another process may be writing

    """

  static let reopen = """

     Opens the image that is open again, in another way.

     Example:
     'reopen -r' - takes no writes from now on

     -c, -- how writes are cached
     -o, -- options of the image, as 'open' has them
     -r, -- for reading only
     -w, -- for reading and writing

    """

  static let raiseSignal = """

     Raises a signal of that number.

     Example:
     'sigraise 15' - ends the program, as SIGTERM does

    """

  /// Prints how the program is called.
  static func printUsage(_ tool: Tool) {
    let name = tool.persona.kind == .lamina ? "\(tool.name) io" : tool.name
    tool.console.print(
      """
      Usage: \(name) [OPTIONS]... [-c STRING]... [file]
      Small commands that read and write a disk image

        --object OBJECTDEF   define an object, such as a secret
        --image-opts         the file is a list of options
        -c, --cmd STRING     run this command, with its arguments
        -f, --format FMT     the image's format
        -r, --read-only      open it for reading only
        -s, --snapshot       let changes go to a file that is gone afterwards
        -n, --nocache        the same as -t none
        -C, --copy-on-read   keep what is read from the backing file
        -m, --misalign       accepted: requests need no alignment
        -k, --native-aio     the same as -i native
        -i, --aio=MODE       how requests reach the host (threads, native or io_uring)
        -t, --cache=MODE     how writes are cached
        -d, --discard=MODE   what becomes of discards
        -T, --trace STRING   accepted: nothing is traced
        -U, --force-share    open it although another process may be writing
        -h, --help           tell this, and end
        -V, --version        tell the version, and end

      '\(name) -c help' lists the commands.
      """)
  }

  /// What `help` ends with.
  static let closing = "\nUse 'help commandname' for extended help."
}
