// swift-tools-version: 6.2
import PackageDescription

/// Settings of every target: language mode 6 comes with the tools version.
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  // Nonisolated async functions stay on the caller's executor: no surprise hop at a node boundary.
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  // Returning and storing spans. Clients of these modules need no flag.
  .enableExperimentalFeature("Lifetimes"),
]

let systemPackage = Target.Dependency.product(name: "SystemPackage", package: "swift-system")

/// A planted bug, as MODULE:CONDITION: the condition is defined in that module alone, so that no
/// other is compiled anew (`make mutants`).
let mutant = Context.environment["LAMINA_MUTANT"]?.split(separator: ":").map(String.init) ?? []

func sourceSettings(_ module: String) -> [SwiftSetting] {
  mutant.first == module ? settings + mutant.dropFirst().map { .define($0) } : settings
}

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, exclude: ["README.md"],
    swiftSettings: sourceSettings(name))
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
  name: "lamina",
  platforms: [.macOS(.v26), .iOS(.v26)],  // Mutex and TaskExecutor need 15/18, InlineArray 26
  products: [
    .library(name: "DirtyBitmap", targets: ["DirtyBitmap"]),
    .library(name: "Primitives", targets: ["Primitives"]),
    .library(name: "Execution", targets: ["Execution"]),
    .library(name: "BlockLayer", targets: ["BlockLayer"]),
    .library(name: "Qcow2", targets: ["Qcow2"]),
    .library(name: "BackupJob", targets: ["BackupJob"]),
    .library(name: "ImageOps", targets: ["ImageOps"]),
    .library(name: "BackupChain", targets: ["BackupChain"]),
    .library(name: "Lamina", targets: ["Lamina"]),
    .library(name: "BlockTestKit", targets: ["BlockTestKit"]),
    .library(name: "LaminaTestKit", targets: ["LaminaTestKit"]),
    .executable(name: "lamina", targets: ["LaminaTool"]),
  ],
  traits: [
    .trait(
      name: "Zstd",
      description: "Compressed clusters of zstd, by the system's libzstd; deflate always works."),
    .trait(
      name: "Libdeflate",
      description: "Deflate clusters are inflated by the system's libdeflate, not by zlib."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-system.git", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.0"),
  ],
  targets: [
    .systemLibrary(name: "CLinux"),
    .systemLibrary(
      name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
    .systemLibrary(
      name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"]), .brew(["zstd"])]),
    .systemLibrary(
      name: "CLibdeflate", pkgConfig: "libdeflate",
      providers: [.apt(["libdeflate-dev"]), .brew(["libdeflate"])]),
    library("Primitives"),
    library("DirtyBitmap", ["Primitives"]),
    library("Execution", ["Primitives"]),
    library("BlockLayer", ["Primitives", "Execution", "DirtyBitmap", "CLinux", systemPackage]),
    library(
      "Qcow2",
      [
        "BlockLayer", "Primitives", "Execution", "DirtyBitmap", systemPackage, "CZlib",
        .target(name: "CZstd", condition: .when(traits: ["Zstd"])),
        .target(name: "CLibdeflate", condition: .when(traits: ["Libdeflate"])),
      ]),
    library(
      "ImageOps", ["BlockLayer", "Primitives", "Execution", "DirtyBitmap", systemPackage]),
    library("BlockTestKit", ["Primitives", "Execution", "BlockLayer", systemPackage]),
    library(
      "BackupJob", ["Primitives", "Execution", "DirtyBitmap", "BlockLayer", systemPackage]),
    library(
      "BackupChain",
      [
        "Qcow2", "BackupJob", "ImageOps", "BlockLayer", "DirtyBitmap", "Execution", "Primitives",
        systemPackage, .product(name: "Crypto", package: "swift-crypto"),
      ]),
    library(
      "Lamina",
      [
        "Qcow2", "BackupJob", "ImageOps", "BackupChain", "BlockLayer", "DirtyBitmap", "Execution",
        "Primitives", systemPackage,
      ]),
    library(
      "LaminaTestKit",
      [
        "BlockTestKit", "Lamina", "Qcow2", "BackupJob", "ImageOps", "BlockLayer", "DirtyBitmap",
        "Execution", "Primitives", systemPackage,
      ]),
    .executableTarget(
      name: "LaminaTool",
      dependencies: [
        "Lamina", "BackupChain", "BackupJob", "Execution", "BlockLayer", "Qcow2", "ImageOps",
        "DirtyBitmap",
        "Primitives",
        systemPackage, .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      exclude: ["README.md"], swiftSettings: sourceSettings("LaminaTool")),

    // The qemu tools as black boxes, for the tests that compare with them.
    .target(
      name: "QEMUTools", dependencies: ["CLinux", systemPackage], path: "Tests/QEMUTools",
      swiftSettings: settings),
    tests("TidyTests", []),
    tests("LaminaToolTests", ["LaminaTool", "QEMUTools"]),
    tests("OracleTests", ["LaminaTool", "Execution", "QEMUTools"]),
    tests("LaminaTests", ["Lamina", systemPackage]),
    tests("DirtyBitmapTests", ["DirtyBitmap", "Primitives"]),
    tests("PrimitivesTests", ["Primitives"]),
    tests("ExecutionTests", ["Execution", "Primitives"]),
    tests(
      "Qcow2Tests",
      ["Qcow2", "BlockTestKit", "BlockLayer", "Execution", "Primitives", "QEMUTools"]),
    tests(
      "BlockTestKitTests",
      ["BlockTestKit", "BlockLayer", "Execution", "Primitives", systemPackage]),
    tests(
      "BlockLayerTests",
      [
        "BlockLayer", "Execution", "DirtyBitmap", "Primitives", "CLinux", "QEMUTools",
        systemPackage,
      ]),
    tests(
      "BackupJobTests",
      [
        "BackupJob", "Lamina", "BlockTestKit", "BlockLayer", "Qcow2", "ImageOps", "Execution",
        "DirtyBitmap", "Primitives", systemPackage,
      ]),
    tests(
      "ImageOpsTests",
      [
        "ImageOps", "Lamina", "BlockTestKit", "BlockLayer", "Qcow2", "DirtyBitmap", "Execution",
        "Primitives", "QEMUTools", systemPackage,
      ]),
    tests("LaminaTestKitTests", ["LaminaTestKit", systemPackage]),
    tests("ScenarioTests", ["LaminaTestKit", systemPackage]),
    tests(
      "BackupChainTests",
      [
        "BackupChain", "BackupJob", "Lamina", "BlockTestKit", "BlockLayer", "Qcow2", "ImageOps",
        "DirtyBitmap", "Execution", "Primitives", systemPackage,
      ]),
    tests(
      "SimulationTests",
      [
        "BlockTestKit", "Qcow2", "BlockLayer", "DirtyBitmap", "Execution", "Primitives",
        systemPackage,
      ]),
  ]
)
