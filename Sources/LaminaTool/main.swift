internal import Execution

// A plain function: an asynchronous main would sit on the main actor, and each request would hop.
StandardStreams.secure()
let console = Console.standard
let persona = Persona(calledAs: CommandLine.arguments.first ?? "")
let status = Tool(console: console, persona: persona).run(
  Array(CommandLine.arguments.dropFirst()))
console.exit(status)
