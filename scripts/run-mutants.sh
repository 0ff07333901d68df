#!/usr/bin/env bash
# Shows that the tests can fail: plants each bug of Tests/mutants.txt in turn and demands that the
# tests named beside it fail. Ends with 1 when a bug goes unnoticed, or does not build.
#   scripts/run-mutants.sh [NAME…]
set -euo pipefail

cd "$(dirname "$0")/.."
build=(--scratch-path .build-mutants ${TRAITS:-})  # such as --traits Zstd
limit=600  # seconds for one bug's tests; one that hangs is caught too
log=$(mktemp)
trap 'rm -f "$log"' EXIT

names=()
filters=()
while read -r name filter || [[ -n $name ]]; do
  if [[ -z $name || $name == \#* ]]; then continue; fi
  if (($# > 0)) && [[ " $* " != *" $name "* ]]; then continue; fi
  names+=("$name")
  filters+=("$filter")
done <Tests/mutants.txt
if ((${#names[@]} == 0)); then
  echo "Tests/mutants.txt names no such bug."
  if (($# > 0)); then exit 1; else exit 0; fi
fi

# The module whose sources hold the bug.
module_of() {
  local modules
  modules=$(grep -rlw --include='*.swift' -e "$1" Sources | cut -d / -f 2 | sort -u || true)
  if [[ -z $modules || $modules == *$'\n'* ]]; then
    echo "$1 has to stand in the sources of one module, and stands in: ${modules:-none}" >&2
    return 1
  fi
  echo "$modules"
}

# Builds and runs the tests of a filter. 0: they pass; 1: they fail or hang; 2: no build; 3: none
# has the name. The bug, if any, is in LAMINA_MUTANT.
run_tests() {
  local tests
  swift build --build-tests "${build[@]}" >"$log" 2>&1 || return 2
  tests=$(swift test list --skip-build "${build[@]}" 2>/dev/null)
  grep -qE -e "$1" <<<"$tests" || return 3
  timeout "$limit" swift test --skip-build "${build[@]}" --filter "$1" >"$log" 2>&1 || return 1
}

# A failure means something only when the same tests pass without the bug.
echo "Without any bug"
for filter in $(printf '%s\n' "${filters[@]}" | sort -u); do
  status=0
  run_tests "$filter" || status=$?
  if ((status != 0)); then
    cat "$log" >&2
    echo "$filter does not pass as it is (or names no test): nothing can be shown." >&2
    exit 1
  fi
done

missed=0
for index in "${!names[@]}"; do
  SECONDS=0
  status=0
  module=$(module_of "${names[index]}")
  LAMINA_MUTANT=$module:${names[index]} run_tests "${filters[index]}" || status=$?
  case $status in
    0) verdict=MISSED ;;
    1) verdict=caught ;;
    *) verdict="DOES NOT BUILD" && cat "$log" ;;
  esac
  if ((status != 1)); then missed=$((missed + 1)); fi
  printf '%-14s %-40s by %s (%d s)\n' "$verdict" "${names[index]}" "${filters[index]}" "$SECONDS"
done
echo "$((${#names[@]} - missed)) of ${#names[@]} planted bugs caught"
((missed == 0))
