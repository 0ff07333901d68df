import Foundation

/// The command `lamina` as it was built, for tests that kill it.
package enum LaminaCommand {
  /// Where it is: beside the tests.
  package static let path: String? = {
    let folder = Bundle.main.bundleURL.deletingLastPathComponent()
    let places = [folder, folder.deletingLastPathComponent(), Bundle.main.bundleURL]
    return places.map { $0.appending(path: "lamina").path() }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }()
}
