import Execution

/// A call that grows: options in groups, operands, and where chance puts them.
struct PersonaCall {
  let zoo: PersonaZoo
  private(set) var random: SeededGenerator
  private var groups: [[String]] = []
  private var operands: [String] = []
  private var last: [String] = []

  init(_ zoo: PersonaZoo, seed: UInt64) {
    self.zoo = zoo
    random = SeededGenerator(seed: seed)
  }

  // MARK: - Chance

  /// True once in `count` times.
  mutating func chance(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

  mutating func pick<Value>(_ values: [Value]) -> Value {
    values[Int.random(in: 0..<values.count, using: &random)]
  }

  // MARK: - Growing

  /// An option, perhaps with its value.
  mutating func add(_ words: String...) { groups.append(words) }

  /// An option, once in `count` times.
  mutating func maybe(_ count: Int, _ words: String...) {
    if chance(count) { groups.append(words) }
  }

  /// A long option with a value: attached or not, whole or cut.
  mutating func addLong(_ name: String, _ value: String) {
    let name =
      chance(6) ? String(name.prefix(Int.random(in: 3...name.count, using: &random))) : name
    groups.append(chance(2) ? ["--\(name)=\(value)"] : ["--\(name)", value])
  }

  /// A word that is no option.
  mutating func add(operand: String) { operands.append(operand) }

  /// A word that stands behind all others.
  mutating func end(with word: String) { last = [word] }

  /// An image as an operand, in one of the forms of names; `format` is the option for its format.
  ///
  /// `optionLists` lets `--image-opts` be used, which then holds for all operands of the call.
  mutating func addImage(
    _ animal: PersonaZoo.Animal? = nil, format: String? = "-f", optionLists: Bool = true
  ) {
    let animal = animal ?? pick(zoo.animals)
    let path = zoo.folder + animal.name
    switch Int.random(in: 0..<24, using: &random) {
    case 0: operands.append("file:" + path)
    case 1:
      operands.append(
        #"json:{"driver":"\#(animal.format)","file":{"driver":"file","filename":"\#(path)"}}"#)
    case 2: operands.append("json:{'file.filename':'\(path)'}")
    case 3,
      4 where optionLists:
      groups.append(["--image-opts"])
      operands.append("driver=\(animal.format),file.driver=file,file.filename=\(path)")
      if !chance(8) { return }
    case 5 where optionLists:
      groups.append(["--image-opts"])
      operands.append(wrongOptions(animal, path))
      return
    case 6: operands.append(wrongName(path))
    default: operands.append(path)
    }
    guard let format else { return }
    switch Int.random(in: 0..<16, using: &random) {
    case 0: groups.append([format, pick(["raw", "qcow2"])])
    case 1: groups.append([format, "nosuch"])
    case 2...8: groups.append(chance(3) ? [format + animal.format] : [format, animal.format])
    default: break
    }
  }

  private mutating func wrongName(_ path: String) -> String {
    pick([
      path + "x", "nosuch:" + path, "json:{", "json:[]", "json:{\"driver\":\"nosuch\"}",
      "json:{\"driver\":\"qcow2\"}", "", "file:", zoo.folder, "blkdebug::" + path,
      "json:{\"driver\":\"raw\",\"file.filename\":\"\(path)\",\"nosuch\":1}",
      "json:{\"driver\":\"raw\",\"size\":512,\"file.filename\":\"\(path)\"}",
    ])
  }

  private mutating func wrongOptions(_ animal: PersonaZoo.Animal, _ path: String) -> String {
    let format = animal.format
    return pick([
      "driver=nosuch,file.filename=\(path)", "filename=\(path)", path, "driver=\(format)",
      "driver=\(format),file.filename=\(path)x", "driver=\(format),file.filename=\(path),nosuch=1",
      "file.filename=\(path)", "driver=\(format),file.driver=nosuch,file.filename=\(path)",
      "driver=\(format),file.filename=\(path),discard=unmap,cache.direct=off",
      "driver=raw,offset=512,file.filename=\(path)", "driver=raw,size=x,file.filename=\(path)",
      "driver=raw,offset=99G,file.filename=\(path)", "driver=file,filename=\(path)",
      "driver=\(format),file.driver=blkdebug,file.image.filename=\(path)",
    ])
  }

  /// What every verb has: objects, help, and mistakes.
  mutating func addCommon() {
    switch Int.random(in: 0..<60, using: &random) {
    case 0: groups.append(["--object", "secret,id=s0,data=x"])
    case 1: groups.append(["--object", "secret,id=s0"])
    case 2: groups.append(["--object", "nosuch,id=s0"])
    case 3: groups.append(["--nosuch"])
    case 4: groups.append(["-Z"])
    case 5: groups.append(["-ZZ"])
    case 6: operands.append("more")
    case 7: if !operands.isEmpty { operands.removeLast() }
    case 8: groups.append(["--help"])
    case 9: groups.append(["--object"])
    default: break
    }
  }

  /// The words: the groups in any order, and operands before, between and behind them.
  mutating func words() -> [String] {
    groups.shuffle(using: &random)
    var words: [String] = []
    var rest = operands[...]
    for group in groups {
      if chance(4), let operand = rest.popFirst() { words.append(operand) }
      words += group
    }
    if chance(10), !rest.isEmpty { words.append("--") }
    return words + rest + last
  }
}
