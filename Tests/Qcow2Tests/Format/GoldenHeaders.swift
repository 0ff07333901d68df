/// First clusters of images that qemu-img 7.2.22 made; `C` is `qemu-img create -q -f qcow2`.
enum GoldenHeaders {
  /// The feature name table that `C` writes behind headers of clusters of 8 KiB and above.
  static let featureNames = """
    6803f857 00000180 \
    0000 'dirty_bit' 00*37 0001 'corrupt_bit' 00*35 0002 'external_data_file' 00*28 \
    0003 'compression_type' 00*30 0004 'extended_L2_entries' 00*27 0100 'lazy_refcounts' 00*32 \
    0200 'bitmaps' 00*39 0201 'raw_external_data' 00*29
    """

  /// `C a 64M`.
  static let plain = image(
    65536,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000010 00000000 04000000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001 00*12",
      0x48: "00*24 00000004 00000070 00*8",
      0x70: featureNames,
    ])

  /// `C -o compat=0.10 v2 64M`.
  static let version2 = image(
    65536,
    [
      0x00: "514649fb 00000002 00*8 00000000 00000010 00000000 04000000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
    ])

  /// `C -o cluster_size=512 c 1M`.
  static let smallClusters = image(
    512,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000009 00000000 00100000",
      0x20: "00000000 00000020 00000000 00000600 00000000 00000200 00000001",
      0x60: "00000004 00000070",
    ])

  /// `C -b base.raw -F raw ov`, where base.raw has 1 MiB.
  static let overlay = image(
    65536,
    [
      0x00: "514649fb 00000003 00000000 00000210 00000008 00000010 00000000 00100000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
      0x60: "00000004 00000070 00*8 e2792aca 00000003 72617700 00000000",
      0x80: featureNames,
      0x210: "'base.raw'",
    ])

  /// `C -o compat=0.10 -b base.raw -F raw ov2`.
  static let overlayVersion2 = image(
    65536,
    [
      0x00: "514649fb 00000002 00000000 00000060 00000008 00000010 00000000 00100000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
      0x48: "e2792aca 00000003 72617700 00000000 00*8 'base.raw'",
    ])

  /// `C zero 0`.
  static let empty = image(
    65536,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000010 00*8",
      0x30: "00000000 00010000 00000001",
      0x60: "00000004 00000070",
      0x70: featureNames,
    ])

  /// `C -o lazy_refcounts=on lazy 64M`.
  static let lazyRefcounts = plain.patched(0x50, "00000000 00000001")

  /// `C -o compression_type=zstd z 1M`.
  static let zstd = image(
    65536,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000010 00000000 00100000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
      0x48: "00000000 00000008 00*16 00000004 00000070 01000000 00000000",
      0x70: featureNames,
    ])

  /// `C -o extended_l2=on e 2M`.
  static let extendedL2 = zstd.patched(0x18, "00000000 00200000").patched(0x48, "00000000 00000010")
    .patched(0x68, "00000000")

  /// `C -o cluster_size=2M big 1M`.
  static let largeClusters = image(
    2 << 20,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000015 00000000 00100000",
      0x20: "00000000 00000001 00000000 00600000 00000000 00200000 00000001",
      0x60: "00000004 00000070",
      0x70: featureNames,
    ])

  /// `C bmi 1M; qemu-img bitmap --add bmi b0; qemu-img bitmap --add --disable bmi b1`, then
  /// `qemu-io -f qcow2 -c 'write 0 64k' -c 'write 192k 64k' bmi`.
  static let bitmaps = image(
    65536,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000010 00000000 00100000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
      0x58: "00000000 00000001 00000004 00000070",
      0x70: featureNames,
      0x1f8: "23852875 00000018 00000002 00000000 00000000 00000040 00000000 000d0000",
    ])

  /// `C sn 1M; qemu-io -f qcow2 -c 'write 0 64k' sn; qemu-img snapshot -c first sn`.
  static let snapshot = bitmaps.patched(0x58, "00*8").patched(0x1f8, "00*32")
    .patched(0x3c, "00000001 00000000 00070000")

  /// `C -o data_file=d.data df 1M`.
  static let dataFile = image(
    65536,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000010 00000000 00100000",
      0x20: "00000000 00000001 00000000 00030000 00000000 00010000 00000001",
      0x48: "00000000 00000004 00*16 00000004 00000070 00*8",
      0x70: "44415441 00000006 'd.data' 0000",
      0x80: featureNames,
    ])

  /// `C --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s l 1M`.
  static let luks = image(
    65536,
    [
      0x00: "514649fb 00000003 00*8 00000000 00000010 00000000 00100000",
      0x20: "00000002 00000001 00000000 00030000 00000000 00010000 00000001",
      0x60: "00000004 00000070 00*8",
      0x70: "0537be77 00000010 00000000 00040000 00000000 001f9000",
      0x88: featureNames,
    ])
}
