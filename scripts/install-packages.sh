#!/usr/bin/env bash
# Installs from apt what is missing, as root or through sudo, or says what to install.
#   scripts/install-packages.sh [--optional] mke2fs:e2fsprogs /usr/include/a.h:liba-dev …
# An argument is a command, or the path of a file, and the Debian package that brings it. What is
# optional may stay missing: the script says so and succeeds.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
optional=false
if [[ ${1:-} == --optional ]]; then
  optional=true
  shift
fi

missing=()
for need in "$@"; do
  thing=${need%:*}
  if [[ $thing == /* ]]; then
    [[ -e $thing ]] || missing+=("${need##*:}")
  else
    command -v "$thing" >/dev/null || missing+=("${need##*:}")
  fi
done
if ((${#missing[@]} == 0)); then exit 0; fi

# Prints nothing unless apt fails: what it says then is the reason.
install_missing() {
  local as_root=() log
  if ! command -v apt-get >/dev/null; then return 1; fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then return 1; fi
    as_root=(sudo)
    if [[ ! -t 0 ]]; then as_root+=(-n); fi  # nobody is there to type a password
  fi
  echo "Installing ${missing[*]}"
  log=$("${as_root[@]}" apt-get update 2>&1) || echo "$log" >&2
  log=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}" 2>&1) && return 0
  echo "$log" >&2
  return 1
}

if install_missing; then exit 0; fi
if $optional; then
  echo "Going on without ${missing[*]}: what needs them is left out."
  exit 0
fi
echo "Please install ${missing[*]} (apt-get install ${missing[*]}), and run this again." >&2
exit 1
