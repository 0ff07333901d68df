// swift-tools-version: 6.2
import Foundation
import PackageDescription

/// The header whose presence decides whether libroaring is among the yardsticks (libroaring-dev).
let roaringHeaders = ["/usr/include/roaring/roaring.h", "/usr/local/include/roaring/roaring.h"]
let hasRoaring = roaringHeaders.contains { FileManager.default.fileExists(atPath: $0) }

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
]

/// Settings of targets that know whether libroaring is there.
let peerSettings = settings + (hasRoaring ? [.define("HAS_ROARING")] : [])

func lamina(_ product: String) -> Target.Dependency { .product(name: product, package: "lamina") }

// A package of its own, so that whoever imports Lamina resolves none of this.
let package = Package(
  name: "lamina-benchmarks",
  platforms: [.macOS(.v26)],
  products: [.executable(name: "ratios", targets: ["ratios"])],
  dependencies: [
    .package(name: "lamina", path: ".."),
    .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-system.git", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-collections.git", from: "1.6.0"),
    // Without traits: what they add counts allocations, which AllocationCounter does here.
    .package(url: "https://github.com/ordo-one/benchmark.git", from: "1.38.1", traits: []),
  ],
  targets: [
    .target(name: "AllocationCounter"),
    .target(
      name: "BitmapWorkloads",
      dependencies: [
        lamina("DirtyBitmap"), lamina("Primitives"),
        .product(name: "BitCollections", package: "swift-collections"),
      ] + (hasRoaring ? ["CRoaring"] : []),
      swiftSettings: peerSettings),
    .systemLibrary(name: "Zlib", providers: [.apt(["zlib1g-dev"])]),
    .executableTarget(
      name: "ratios",
      dependencies: [
        "AllocationCounter", "BitmapWorkloads", "Zlib", lamina("Lamina"), lamina("DirtyBitmap"),
        lamina("BlockLayer"), lamina("Qcow2"), lamina("Execution"), lamina("Primitives"),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: peerSettings),
    .executableTarget(
      name: "Baselines",
      dependencies: [
        "BitmapWorkloads", lamina("DirtyBitmap"), lamina("Primitives"),
        .product(name: "Benchmark", package: "benchmark"),
      ],
      path: "Benchmarks/Baselines", swiftSettings: settings,
      plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]),
  ] + (hasRoaring ? [.systemLibrary(name: "CRoaring", providers: [.apt(["libroaring-dev"])])] : [])
)
