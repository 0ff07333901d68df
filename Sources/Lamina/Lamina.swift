@_exported public import BackupChain
@_exported public import BackupJob
@_exported public import BlockLayer
@_exported public import DirtyBitmap
@_exported public import Execution
@_exported public import ImageOps
@_exported public import Primitives
@_exported public import Qcow2
