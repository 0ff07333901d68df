internal import BlockLayer
internal import DirtyBitmap
internal import Primitives

/// A specification whose names are resolved and whose values are checked, in the order and with the
/// texts of QEMU's monitor; nothing was touched for it.
struct BackupPlan {
  let spec: BackupSpec
  let jobID: String
  let source: BlockNode
  let target: BlockNode
  let bitmap: DirtyBitmap?
  /// What becomes of the bitmap; of no meaning without one.
  let bitmapMode: BackupSpec.BitmapMode
  let clusterSize: Int

  init(_ spec: BackupSpec, _ registry: JobRegistry) throws(JobError) {
    self.spec = spec
    do {
      source = try spec.source.resolve(in: registry.graph)
      target = try spec.target.resolve(in: registry.graph)
    } catch {
      throw .block(error)
    }
    (bitmap, bitmapMode) = try Self.checkModes(spec, source)
    clusterSize = CopyEngine.clusterSize(for: target)
    jobID = spec.jobID ?? registry.graph.deviceName(at: source) ?? ""
    try checkNodes(registry)
    try Self.checkLimits(spec, bitmap, bitmapMode)
    try checkLengths()
  }

  /// Checks all that can be checked before there is a target; the source.
  static func checkSource(
    _ spec: BackupSpec, _ registry: JobRegistry
  ) throws(JobError) -> BlockNode {
    let source: BlockNode
    do {
      source = try spec.source.resolve(in: registry.graph)
    } catch {
      throw .block(error)
    }
    let (bitmap, mode) = try checkModes(spec, source)
    try registry.checkNotBusy(source)
    try checkLimits(spec, bitmap, mode)
    try Job.check(speed: spec.speed)
    try registry.checkIdentifier(spec.jobID ?? registry.graph.deviceName(at: source) ?? "")
    // No copy cluster is smaller, and a new image has none that is larger.
    try checkChunk(spec, CopyLimits.minimumClusterSize)
    do {
      if let name = spec.filterNodeName { try registry.graph.checkNodeName(name) }
    } catch {
      throw JobError(.block, "Could not create node: \(error.message)", cause: error)
    }
    return source
  }

  // MARK: - Modes

  private static func checkModes(
    _ spec: BackupSpec, _ source: BlockNode
  ) throws(JobError) -> (DirtyBitmap?, BackupSpec.BitmapMode) {
    let sync = spec.sync.rawValue
    guard let name = spec.bitmap else {
      if spec.sync == .incremental || spec.sync == .bitmap {
        throw invalid("must provide a valid bitmap name for '\(sync)' sync mode")
      }
      if spec.bitmapMode != nil {
        throw invalid("Cannot specify bitmap sync mode without a bitmap")
      }
      return (nil, .never)
    }
    if spec.sync == .incremental, spec.bitmapMode ?? .onSuccess != .onSuccess {
      throw invalid(
        "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'")
    }
    guard let bitmap = source.bitmaps.find(name) else {
      throw invalid("Bitmap '\(name)' could not be found")
    }
    guard let mode = spec.bitmapMode ?? (spec.sync == .incremental ? .onSuccess : nil) else {
      throw invalid("Bitmap sync mode must be given when providing a bitmap")
    }
    do {
      try bitmap.checkUsable()
    } catch {
      throw JobError(.bitmap, error.message, cause: error)
    }
    if spec.sync == .none {
      throw invalid("sync mode 'none' does not produce meaningful bitmap outputs")
    }
    if mode == .never, spec.sync != .bitmap {
      throw invalid(
        "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode '\(sync)'")
    }
    return (bitmap, mode)
  }

  // MARK: - Nodes and numbers

  private func checkNodes(_ registry: JobRegistry) throws(JobError) {
    guard source !== target else {
      throw Self.invalid("Source and target cannot be the same")
    }
    if spec.compresses, !target.isCompressing {
      let name = registry.graph.deviceName(at: target) ?? ""
      throw Self.invalid("Compression is not supported for this drive \(name)")
    }
    try registry.checkNotBusy(source)
    try registry.checkNotBusy(target)
  }

  private static func checkLimits(
    _ spec: BackupSpec, _ bitmap: DirtyBitmap?, _ mode: BackupSpec.BitmapMode
  ) throws(JobError) {
    guard (1...CopyLimits.maximumWorkerCount).contains(spec.maxWorkers) else {
      throw invalid("max-workers must be between 1 and \(CopyLimits.maximumWorkerCount)")
    }
    guard spec.maxChunk >= 0 else {
      throw invalid("max-chunk must be zero (which means no limit) or positive")
    }
    if let bitmap, mode != .never, bitmap.isReadOnly {
      let error = BitmapError.readOnly(bitmap.name ?? "")
      throw JobError(.bitmap, error.message, cause: error)
    }
  }

  private func checkLengths() throws(JobError) {
    guard source.length == target.length else { throw Self.differentLengths }
  }

  static let differentLengths = invalid("Source and target image have different sizes")

  /// Of what is checked after the filter was made.
  func checkChunk() throws(JobError) { try Self.checkChunk(spec, clusterSize) }

  private static func checkChunk(_ spec: BackupSpec, _ clusterSize: Int) throws(JobError) {
    guard spec.maxChunk == 0 || spec.maxChunk >= clusterSize else {
      throw invalid(
        "Required max-chunk (\(spec.maxChunk)) is less than backup cluster size (\(clusterSize))")
    }
  }

  private static func invalid(_ message: String) -> JobError {
    JobError(.invalidArgument, message)
  }
}

extension BackupSpec.Place {
  func resolve(in graph: BlockGraph) throws(BlockError) -> BlockNode {
    switch self {
    case .node(let node): node
    case .named(let name): try graph.deviceOrNode(named: name)
    }
  }
}
