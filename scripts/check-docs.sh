#!/usr/bin/env bash
# Builds the documentation of the library modules and fails on any warning: a link to a symbol that
# is not there, a parameter that is not the function's.
#   scripts/check-docs.sh FOLDER_OF_A_DEBUG_BUILD
# Needs nothing but the toolchain: the symbols are read from the modules that the build left.
set -euo pipefail

cd "$(dirname "$0")/.."
build=$1
if ! command -v docc >/dev/null; then
  echo "No docc in this toolchain: documentation not checked."
  exit 0
fi

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

# Where the compiler finds the C modules that ours import.
includes=(-I "$build/Modules")
for map in Sources/*/module.modulemap .build/checkouts/*/Sources/*/include/module.modulemap; do
  if [[ -e $map ]]; then includes+=(-I "$(dirname "$map")"); fi
done
target=$(swift -print-target-info)
[[ $target =~ \"unversionedTriple\":\ *\"([^\"]+)\" ]]
triple=${BASH_REMATCH[1]}
if [[ $triple == *-apple-* ]]; then includes+=(-sdk "$(xcrun --show-sdk-path)"); fi

checked=()
for folder in Sources/*/; do
  module=$(basename "$folder")
  # A command has no interface, and a module of headers no symbols of its own.
  if [[ $module == LaminaTool || -e $folder/module.modulemap ]]; then continue; fi
  if [[ ! -e $build/Modules/$module.swiftmodule ]]; then
    echo "No $module in $build/Modules: build first." >&2
    exit 1
  fi
  graphs=$output/$module
  mkdir "$graphs"
  swift symbolgraph-extract -module-name "$module" -target "$triple" "${includes[@]}" \
    -minimum-access-level public -output-dir "$graphs"
  catalog=("$folder"*.docc)
  if [[ ! -e ${catalog[0]} ]]; then catalog=(); fi
  if ! docc convert ${catalog[@]+"${catalog[@]}"} --additional-symbol-graph-dir "$graphs" \
    --fallback-display-name "$module" --fallback-bundle-identifier "lamina.$module" \
    --warnings-as-errors --output-dir "$output/$module.doccarchive" >"$output/log" 2>&1; then
    cat "$output/log" >&2
    exit 1
  fi
  checked+=("$module")
done
echo "Documentation without warnings: ${checked[*]}"
