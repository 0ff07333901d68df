import Primitives

/// A bitmap as QEMU 7.2 stored it, and the writes that it recorded.
///
/// Made with the real tools, for the first one so; the others likewise:
///
///     qemu-img create -q -f qcow2 -o cluster_size=65536 golden.qcow2 1048576
///     qemu-img bitmap --add -g 65536 golden.qcow2 b
///     qemu-io -f qcow2 -c 'write -q 0 512' -c 'write -q 655360 1' golden.qcow2
///     dd if=golden.qcow2 bs=65536 skip=9 count=1 | xxd
///
/// where 9 is the cluster that the bitmap's table names. With several clusters of data they are put
/// together in the table's order, an entry of zero as a cluster of zeros. Beyond the length that
/// the bits need, all was zero.
struct GoldenBitmap: Sendable, CustomStringConvertible {
  let size: Int
  let granularity: Int
  let clusterSize: Int
  /// Offset and length.
  let writes: [(Int, Int)]
  /// The stored bytes in hexadecimal; `00*6` is a byte six times.
  let data: String

  var description: String { "\(size) bytes at \(granularity)" }

  var bytes: [UInt8] {
    var bytes: [UInt8] = []
    for part in data.split(whereSeparator: \.isWhitespace) {
      let pieces = part.split(separator: "*")
      let digits = Array(pieces[0])
      var run: [UInt8] = []
      for index in stride(from: 0, to: digits.count, by: 2) {
        run.append(UInt8(String(digits[index...index + 1]), radix: 16) ?? 0)
      }
      let count = pieces.count > 1 ? Int(pieces[1]) ?? 0 : 1
      for _ in 0..<count { bytes += run }
    }
    return bytes
  }

  static let all = [two, odd, mixed, clusters]

  /// Two granules of a small disk.
  static let two = GoldenBitmap(
    size: 1048576, granularity: 65536, clusterSize: 65536,
    writes: [
      (0, 512), (655360, 1),
    ],
    data: """
      0104 00*6
      """)

  /// Single sectors of a disk whose size is no multiple of much.
  static let odd = GoldenBitmap(
    size: 100352, granularity: 512, clusterSize: 65536,
    writes: [
      (0, 1), (511, 2), (4608, 512), (65535, 2), (100351, 1),
    ],
    data: """
      0302 00*13 8001 00*7 08 00*7
      """)

  /// Forty writes anywhere.
  static let mixed = GoldenBitmap(
    size: 25169408, granularity: 16384, clusterSize: 65536,
    writes: [
      (1897549, 24009), (2847831, 94650), (5673504, 80777), (8441734, 55632), (20360887, 9368),
      (19501970, 41520), (14450875, 103163), (24260259, 133449), (12484271, 142653),
      (
        14926829,
        131614
      ), (9000665, 9418), (920896, 95425), (15599249, 83484), (12751184, 111048),
      (
        17641335,
        43120
      ), (18807606, 46514), (7922986, 60452), (800544, 46327), (10909986, 45506),
      (
        4586803,
        133738
      ), (17120271, 94291), (17238166, 146772), (6101655, 116822), (13914049, 137722),
      (12222387, 92744), (12142891, 116856), (5408459, 104822), (23996482, 120955),
      (
        21975165,
        139030
      ), (8385311, 128455), (9365117, 130565), (16805437, 135107), (11875725, 119194),
      (15469001, 91954), (19049021, 146167), (24285790, 119683), (16327873, 58147),
      (
        10894024,
        43535
      ), (20681142, 70291), (16098280, 81151),
    ],
    data: """
      00*6 0f7f 00*6 38 00*6 e00f 00*11 80ff01 00*4 fc01fc0000f00f 00*12
      f8000080ff000000200000f80f 00*10 1f 00*6 f01fe0ff00fe07fc03 00*7
      fe030000fc010080ff0000003f3f0000c00ff0010000fe03f0f73f00f0 00*8 7800fc0f00c001 00*5
      0c00c007 00*8 e03f 00*14 ff01ff03 00*13
      """)

  /// Eight clusters of data, of which three are all clear, and two uniform stretches.
  static let clusters = GoldenBitmap(
    size: 16776704, granularity: 512, clusterSize: 512,
    writes: [
      (0, 1), (1048576, 3145728), (8388608, 700000), (16776192, 300), (1272118, 52381),
      (
        1705699,
        20438
      ), (871653, 32041), (1537624, 44842), (316147, 51399), (1432182, 47576),
      (
        35323,
        59484
      ), (802801, 48811), (445254, 3851), (205143, 17898), (950498, 44727), (445711, 49439),
    ],
    data: """
      01 00*7 f0 ff*14 03 00*26 ff*4 0f 00*22 fe ff*11 3f 00*18 e0 ff*12 00*74 80 ff*12 00*4 c0
      ff*7 3f 00*11 ff*11 00*13 ff*768 00*1024 ff*171 00*1876 40
      """)
}
