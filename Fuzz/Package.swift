// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// Where zstd is installed, its streams are fuzzed too.
let headers = ["/usr/include/zstd.h", "/usr/local/include/zstd.h"]
let hasZstd = headers.contains { FileManager.default.fileExists(atPath: $0) }

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
]

func lamina(_ product: String) -> Target.Dependency { .product(name: product, package: "lamina") }

// A package of its own: it builds only with the fuzzer's flags (`make fuzz`).
let package = Package(
  name: "lamina-fuzz",
  platforms: [.macOS(.v26)],
  products: [.executable(name: "fuzz", targets: ["fuzz"])],
  dependencies: [.package(name: "lamina", path: "..", traits: hasZstd ? ["Zstd"] : [])],
  targets: [
    .executableTarget(
      name: "fuzz",
      dependencies: [
        lamina("Qcow2"), lamina("BlockTestKit"), lamina("BlockLayer"), lamina("Execution"),
        lamina("DirtyBitmap"), lamina("Primitives"),
      ],
      swiftSettings: settings + (hasZstd ? [.define("HAS_ZSTD")] : []))
  ]
)
