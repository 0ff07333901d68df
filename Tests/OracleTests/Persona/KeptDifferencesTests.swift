import Testing

/// The list of kept differences lets pass what it names, and nothing else.
struct KeptDifferencesTests {
  private let list = KeptDifferences(
    """
    ## Something else

    | `*` | `.*` | `.*` | not of the list |

    ## What the oracle lets pass

    | Verb | qemu-img | Lamina | Why |
    |---|---|---|---|
    | `*` | `node \\d+` | `node \\d+` | numbers |
    | `map` | `(?:red\\|blue) ` |  | dropped |
    | `map` | `(?s)^.*lost.*` | `(?s)^.*kept.*` | better |

    ## Behind it
    """)

  @Test(arguments: [
    ("info", "node 1 of 2", "node 17 of 2", true), ("info", "node 1 of 2", "node 17 of 3", false),
    ("map", "a red b blue c", "a b c", true), ("info", "a red b", "a b", false),
    ("map", "was\nlost", "is\nkept", true), ("map", "was\nlost", "is\ngone", false),
    ("map", "is\nkept", "was\nlost", false),
  ])
  func aRowCountsWhereBothSidesMatch(verb: String, theirs: String, ours: String, agree: Bool) {
    #expect(list.agree(verb, theirs: theirs, ours: ours) == agree)
  }

  @Test func theProjectsListIsRead() {
    #expect(KeptDifferences.project.rows.count > 5)
  }
}
