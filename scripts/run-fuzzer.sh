#!/usr/bin/env bash
# Feeds the engine bytes of an enemy under libFuzzer and the address sanitizer, one target after
# the other. Inputs that taught the fuzzer something are kept in Fuzz/.build/inputs for the next
# time, those that broke something in Fuzz/.build/found. Ends with 1 when there is one.
#   scripts/run-fuzzer.sh                      every target, FUZZ_SECONDS (60) each
#   scripts/run-fuzzer.sh TARGET [OPTION…]     one target, with libFuzzer's options
set -euo pipefail

cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
# gold, the default linker, fails on the instrumented objects. Comparisons are not traced: that
# takes a quarter of the time, and the seeds have the format's numbers. After a change of the flags,
# remove Fuzz/.build: the compiler keeps objects whose code did not change.
build=(-c release --package-path Fuzz --product fuzz --sanitize=address
  -Xswiftc -sanitize=fuzzer -Xswiftc -use-ld=lld
  -Xswiftc -sanitize-coverage=edge,indirect-calls,inline-8bit-counters,pc-table)
swift build "${build[@]}"
fuzz=$(swift build "${build[@]}" --show-bin-path)/fuzz

# A hang of five seconds, a gigabyte and a half, or 64 MiB at once are as bad as a crash. Inputs that
# take long are tried less often. A trap has to reach the fuzzer, not Swift's own backtraces.
limits=(-timeout=5 -rss_limit_mb=1536 -detect_leaks=0 -entropic_scale_per_exec_time=1
  -print_final_stats=1)
export SWIFT_BACKTRACE=enable=no
# What was freed stays poisoned for longer than an execution; a larger quarantine would only make
# every allocation miss the caches. For where memory came from, run an input with
# ASAN_OPTIONS=malloc_context_size=30.
export ASAN_OPTIONS=detect_leaks=0:max_allocation_size_mb=64:malloc_context_size=0:\
max_malloc_fill_size=256:quarantine_size_mb=1:thread_local_quarantine_size_kb=64\
${ASAN_OPTIONS:+:$ASAN_OPTIONS}

# The arguments: a target, the seconds after which it is killed, libFuzzer's options.
run() {
  local target=$1 limit=$2
  shift 2
  local inputs=Fuzz/.build/inputs/$target found=Fuzz/.build/found/$target-
  mkdir -p "$inputs" Fuzz/.build/found
  "$fuzz" seeds "$target" "$inputs"
  echo "== $target"
  local status=0
  # The options that come last win.
  timeout --signal=KILL "$limit" "$fuzz" "$target" "${limits[@]}" "-artifact_prefix=$found" \
    "$@" "$inputs" 2>&1 | grep -E '^(stat::|SUMMARY|Done)|Fatal error|ERROR:' ||
    status=${PIPESTATUS[0]}
  return "$status"
}

if (($# > 0)); then
  target=$1
  shift
  run "$target" "${FUZZ_LIMIT:-86400}" "$@"
else
  failed=()
  for target in $("$fuzz" | sed -n 's/^  \([a-z]*\):.*/\1/p'); do
    run "$target" $((seconds * 2 + 60)) "-max_total_time=$seconds" || failed+=("$target")
  done
  if ((${#failed[@]} > 0)); then
    echo "Found something in: ${failed[*]}. See Fuzz/.build/found." >&2
    exit 1
  fi
fi
