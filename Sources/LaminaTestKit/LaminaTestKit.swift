@_exported public import BlockTestKit
@_exported public import Lamina
