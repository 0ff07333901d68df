import BlockLayer
import Execution
import Primitives
import Qcow2

extension FuzzTarget {
  /// A compressed cluster whose stream is the input, read.
  static let compressed = FuzzTarget(
    name: "compressed", summary: "streams of compressed clusters, deflate and zstd",
    seeds: { images.map(stream) + images.map { Array(stream($0).prefix(20)) } }
  ) { bytes in
    guard let kind = bytes.first, bytes.count > 1, !images.isEmpty else { return }
    let image = images[Int(kind & 1) % images.count]
    let stream = bytes.dropFirst().prefix(8192)
    let world = World.simulated(seed: 1, stepLimit: 100_000)
    world.runBlocking {
      let disk = await MemoryDriver.holding(image.holding(stream))
      guard let opened = try? await Opened.open(disk, of: image, in: world, readOnly: true)
      else { return }
      let place = SmallImage.compressedCluster * image.clusterSize
      let read = try? await opened.door.read(at: place, count: image.clusterSize)
      require(read.map { $0.count == image.clusterSize } ?? true, "a cluster of another size")
      try? await opened.close()
    }
  }

  private static let images = SmallImage.all.filter { ["deflate", "zstd"].contains($0.name) }

  /// The input that gives the image's own stream.
  private static func stream(_ image: SmallImage) -> [UInt8] {
    let entry = L2Entry(rawValue: image.entryOfCompressedCluster)
    let bits = image.clusterSize.exponentOfTwo
    guard case .compressed(let descriptor) = entry.kind(clusterBits: bits) else {
      fatalError("the cluster is not compressed")
    }
    let start = descriptor.readableRange.lower
    let end = min(descriptor.readableRange.upper, image.contents.count)
    return [image.name == "zstd" ? 1 : 0] + image.contents[start..<end]
  }
}

extension SmallImage {
  /// A guest cluster that is compressed in the images that have such.
  static let compressedCluster = 5

  private var placeOfEntry: Int { places[2] + Self.compressedCluster * 8 }

  fileprivate var entryOfCompressedCluster: UInt64 {
    contents.span.bytes.bigEndian(at: placeOfEntry)
  }

  /// The image with `stream` behind its end as the stream of that cluster.
  fileprivate func holding(_ stream: ArraySlice<UInt8>) -> [UInt8] {
    let start = contents.count.roundedUp(to: clusterSize)
    var bytes = contents + Array(repeating: 0, count: start - contents.count) + stream
    guard
      let descriptor = CompressedDescriptor(
        hostOffset: HostOffset(start), byteCount: stream.count,
        clusterBits: clusterSize.exponentOfTwo)
    else { fatalError("a stream of \(stream.count) bytes is too long") }
    let entry = L2Entry.compressed(descriptor).rawValue
    for index in 0..<8 {
      bytes[placeOfEntry + index] = UInt8(truncatingIfNeeded: entry >> UInt64(56 - 8 * index))
    }
    return bytes
  }
}
