public import BlockLayer
public import SystemPackage

/// Filling a new image.
extension BlockGraph {
  /// Opens the image that was just made at `path`, lets `fill` write it, and closes it.
  ///
  /// When opening, filling or closing fails, the file is removed: nothing is left that looks like
  /// an image and is none. A device is left as it is, and so is another file that has the name by
  /// then. `options` say how the image is opened.
  public func fillNewImage<Answer>(
    at path: FilePath, _ options: OpenOptions,
    _ fill: (BlockNode) async throws(BlockError) -> Answer
  ) async throws(BlockError) -> Answer {
    let made = FileIdentity(of: path)
    do throws(BlockError) {
      let node = try await open(path, options)
      let answer: Answer
      do throws(BlockError) {
        answer = try await fill(node)
      } catch {
        try? await close(node)  // the first failure is the one to tell
        throw error
      }
      try await close(node)
      return answer
    } catch {
      path.removeRegularFile(made)
      throw error
    }
  }

  /// Copies what `sources` show to a new image of `format`, durably.
  ///
  /// See `ImageConversion.run(from:to:)`. A file that is there is refused, or replaced if
  /// `replacing`; after a failure there is none. With a backing file in `image`, say in the
  /// conversion what it shows.
  @discardableResult
  public func convert(
    _ sources: [BlockNode], to path: FilePath, format: String, _ image: NewImage? = nil,
    replacing: Bool = false, _ conversion: ImageConversion = ImageConversion()
  ) async throws(BlockError) -> UnreadableBytes {
    let length = sources.reduce(0) { $0 + $1.length }
    let image = image ?? NewImage(length: length)
    try await createImage(at: path, format: format, image, replacing: replacing)
    return try await fillNewImage(at: path, OpenOptions(format: format)) {
      target throws(BlockError) in
      try await conversion.run(from: sources, to: target)
    }
  }
}
