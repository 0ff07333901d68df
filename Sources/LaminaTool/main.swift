internal import Execution

// A plain function: an asynchronous main would sit on the main actor, and each request would hop.
let console = Console.standard
let status = Tool(console: console).run(Array(CommandLine.arguments.dropFirst()))
console.exit(status)
