#!/usr/bin/env bash
# Prints the option that turns on the package's traits whose libraries are installed; nothing where
# none is.
set -euo pipefail

traits=
for pair in zstd.h:Zstd libdeflate.h:Libdeflate; do
  for folder in /usr/include /usr/local/include /opt/homebrew/include; do
    if [[ -e $folder/${pair%:*} ]]; then
      traits+=,${pair#*:}
      break
    fi
  done
done
[[ -z $traits ]] || echo "--traits ${traits#,}"
