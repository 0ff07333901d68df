/// What calls say of images that are to be made.
extension PersonaCall {
  /// An option of `-o`; `small` leaves out what would write a long disk.
  mutating func newImageOption(small: Bool = false) -> String {
    var options = [
      "cluster_size=512", "cluster_size=4k", "cluster_size=2M", "cluster_size=1000",
      "cluster_size=x", "cluster_size=", "refcount_bits=1", "refcount_bits=64", "refcount_bits=3",
      "refcount_bits=x", "compat=0.10", "compat=v3", "compat=x", "lazy_refcounts=on",
      "lazy_refcounts", "nolazy_refcounts", "lazy_refcounts=x", "extended_l2=on", "extended_l2=x",
      "compression_type=zlib", "compression_type=x", "data_file=\(zoo.folder)out.data",
      "data_file=\(zoo.folder)out.data,data_file_raw=on", "data_file_raw=on", "preallocation=off",
      "preallocation=x", "nosuch=1", "nosuch", "nocow=on", "size=1M", "size=x", "", ",", "help",
      "cluster_size=64k,cluster_size=4k", "cluster_size=4k,,compat=v2", "cluster_size=4k,",
      "compat=0.10,refcount_bits=8", "compat=v2,lazy_refcounts=on", "encryption=on",
      "cluster_size=16k,extended_l2=on", "cluster_size=4k,extended_l2=on",
    ]
    if !small {
      options += ["preallocation=metadata", "preallocation=falloc", "preallocation=full"]
    }
    return pick(options)
  }

  /// A size of a new image.
  mutating func imageSize() -> String {
    pick([
      "1M", "512", "1000", "0", "3M", "100k", "1.5M", "64M", "x", "1X", "", "8E", "3P", "0x100000",
      "+1M", " 1M", "1M ", "1.5", "123456", "1b", "18446744073709551615",
    ])
  }
}
