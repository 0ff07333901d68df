// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// What is installed of zstd and libdeflate is fuzzed too.
func isInstalled(_ header: String) -> Bool {
  ["/usr/include", "/usr/local/include", "/opt/homebrew/include"].contains {
    FileManager.default.fileExists(atPath: "\($0)/\(header)")
  }
}
let hasZstd = isInstalled("zstd.h")
let traits = ["zstd.h": "Zstd", "libdeflate.h": "Libdeflate"].filter { isInstalled($0.key) }
let traitsOfLamina = Set(traits.values.map { Package.Dependency.Trait(stringLiteral: $0) })

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
  dependencies: [.package(name: "lamina", path: "..", traits: traitsOfLamina)],
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
