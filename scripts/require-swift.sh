#!/usr/bin/env bash
# Fails, and says what to do, when there is no Swift toolchain of the version given or newer.
#   scripts/require-swift.sh 6.2
set -euo pipefail

wanted=$1
if ! command -v swift >/dev/null; then
  echo "No Swift toolchain found. Install Swift $wanted or newer: https://www.swift.org/install" >&2
  exit 1
fi
version=$(swift --version 2>/dev/null)
if [[ ! $version =~ Swift\ version\ ([0-9]+)\.([0-9]+) ]]; then
  echo "\`swift --version\` names no version; Lamina needs $wanted or newer." >&2
  exit 1
fi
found=$((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2]))
if ((found < ${wanted%.*} * 1000 + ${wanted#*.})); then
  echo "Swift ${BASH_REMATCH[1]}.${BASH_REMATCH[2]} is too old; Lamina needs $wanted or newer:" \
    "https://www.swift.org/install" >&2
  exit 1
fi
