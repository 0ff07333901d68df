// swift-tools-version: 6.2
import PackageDescription

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
  dependencies: [.package(name: "lamina", path: "..")],
  targets: [
    .executableTarget(
      name: "fuzz",
      dependencies: [
        lamina("Qcow2"), lamina("BlockTestKit"), lamina("BlockLayer"), lamina("Execution"),
        lamina("DirtyBitmap"), lamina("Primitives"),
      ],
      swiftSettings: settings)
  ]
)
