#!/usr/bin/env bash
# The main job, on a real file system: an ext4 image of this repository's own files lives in a qcow2
# disk; the disk is backed up in full, changed twice, each time backed up incrementally, and every
# point in time is restored and compared.
#   LAMINA=path/to/lamina scripts/run-main-job.sh [FOLDER]
# FOLDER keeps all files for a look; without it they lie in a temporary folder and are removed.
# Needs bash, coreutils, cmp and e2fsprogs.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
lamina=$(realpath -m -- "${LAMINA:-.build/release/lamina}")
repository=$(realpath -- "$(dirname "$0")/..")
if [[ ! -x $lamina ]]; then
  echo "No lamina at $lamina: build it, or name it by LAMINA." >&2
  exit 1
fi
size_mib=${SIZE_MIB:-256}
block=65536  # changes are found in blocks of this many bytes
longest_run=16  # blocks written by one request

if (($# > 0)); then
  folder=$(realpath -m -- "$1")
  if [[ -e $folder ]]; then
    echo "$folder exists already; name a new folder." >&2
    exit 1
  fi
  mkdir -p "$folder"
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
cd "$folder"

heading() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# Copies the files that git tracks, or the sources when there is no git, to `tree`.
copy_repository() {
  local file files=() present=()
  mkdir tree
  cd "$repository"
  if git rev-parse --git-dir >/dev/null 2>&1; then
    mapfile -d '' files < <(git ls-files -z)
  else
    shopt -s globstar
    files=(*.md Package.swift LICENSE docs/** Sources/** Tests/**)
  fi
  for file in "${files[@]}"; do
    if [[ -f $file ]]; then present+=("$file"); fi  # a tracked file may be deleted
  done
  cp --parents -t "$folder/tree" -- "${present[@]}"
  cd "$folder"
  echo "${#present[@]} files"
}

# Prints the numbers of the blocks of $3 ..< $3 + $4 that differ in files $1 and $2, by halving.
differing_blocks() {
  local status=0
  cmp -s -i "$(($3 * block))" -n "$(($4 * block))" -- "$1" "$2" || status=$?
  case $status in
    0) return ;;
    1) ;;
    *) fail "cannot compare $1 and $2" ;;
  esac
  if (($4 == 1)); then
    echo "$3"
  else
    differing_blocks "$1" "$2" "$3" "$(($4 / 2))"
    differing_blocks "$1" "$2" "$(($3 + $4 / 2))" "$(($4 - $4 / 2))"
  fi
}

# Writes a run of blocks ($2 of them from block $1) of the file $3 into disk.qcow2, later: the
# commands gather in `commands`, the data in pieces/.
queue_run() {
  local piece=pieces/$1
  dd if="$3" of="$piece" bs="$block" skip="$1" count="$2" status=none
  commands+=(-c "write -s $piece $(($1 * block)) $(($2 * block))")
}

# Makes disk.qcow2, whose contents are those of the raw image $1, hold those of $2, as the machine
# that owns the disk would: by writing what changed.
write_changes() {
  local total=$((size_mib * 1048576 / block)) first=-1 count=0 changed=0 number
  commands=()
  mkdir -p pieces
  while read -r number; do
    changed=$((changed + 1))
    if ((first >= 0 && number == first + count && count < longest_run)); then
      count=$((count + 1))
      continue
    fi
    if ((first >= 0)); then queue_run "$first" "$count" "$2"; fi
    first=$number
    count=1
  done < <(differing_blocks "$1" "$2" 0 "$total")
  wait $! || fail "cannot compare $1 and $2"
  if ((first < 0)); then fail "$1 and $2 do not differ"; fi
  queue_run "$first" "$count" "$2"
  "$lamina" io -f qcow2 "${commands[@]}" -c flush disk.qcow2 >>io.log
  rm -r pieces
  echo "$changed blocks of $((block / 1024)) KiB written in $((${#commands[@]} / 2)) requests"
}

# Changes the file system of point-$1.raw by debugfs commands from standard input: point-$2.raw.
# They name files without folders: for /NAME debugfs 1.47 removes the entry in its current folder.
change_file_system() {
  cp --sparse=always "point-$1.raw" "point-$2.raw"
  debugfs -w -f /dev/stdin "point-$2.raw" >>debugfs.log 2>&1
}

# The next round: writes what changed, draws it, and backs it up.
back_up_changes() {
  write_changes "point-$1.raw" "point-$2.raw"
  heading "Round $2: what the disk's bitmap says is dirty"
  "$lamina" bitmap dump disk.qcow2
  heading "Round $2: incremental backup"
  "$lamina" backup create disk.qcow2 --to backups
}

# Restores point $1 and compares it with what the disk held then, three ways.
check_point() {
  heading "Point $1: restore, compare, check the file system"
  "$lamina" backup restore backups "restored-$1.raw" --at "$1" -O raw
  "$lamina" compare -f raw -F raw "point-$1.raw" "restored-$1.raw"
  cmp "point-$1.raw" "restored-$1.raw" || fail "point $1 was not restored as it was"
  e2fsck -fn "restored-$1.raw"
}

heading "An ext4 file system of $size_mib MiB with this repository's files"
copy_repository
mke2fs -q -t ext4 -d tree -L lamina point-0.raw "${size_mib}M" >/dev/null

heading "The same, as a qcow2 disk"
"$lamina" create -f qcow2 disk.qcow2 "${size_mib}M"
truncate -s "${size_mib}M" empty.raw
write_changes empty.raw point-0.raw
"$lamina" info disk.qcow2
"$lamina" compare -f raw -F qcow2 point-0.raw disk.qcow2

heading "Full backup"
"$lamina" backup create disk.qcow2 --to backups

heading "Round 1: a folder, copies of the licence, one file gone"
seq 1 20000 >notes.txt
change_file_system 0 1 <<'COMMANDS'
rm LICENSE
mkdir round-1
cd round-1
write notes.txt notes.txt
write tree/LICENSE LICENSE
write tree/Package.swift Package.swift
COMMANDS
back_up_changes 0 1

heading "Round 2: the notes replaced by longer ones, a big file, another one gone"
seq 20000 -1 1 >notes.txt
seq 1 500000 >numbers.txt
change_file_system 1 2 <<'COMMANDS'
rm Package.swift
cd round-1
rm notes.txt
write notes.txt notes.txt
write numbers.txt numbers.txt
COMMANDS
back_up_changes 1 2

heading "The backups"
for backup in backups/*.qcow2; do
  "$lamina" check "$backup"
  "$lamina" info "$backup"
done
"$lamina" check disk.qcow2
"$lamina" bitmap list disk.qcow2

for point in 0 1 2; do check_point "$point"; done

heading "The last point as qcow2, and its files"
"$lamina" backup restore backups restored-2.qcow2 --at 2 -O qcow2
"$lamina" check restored-2.qcow2
"$lamina" compare -f raw -F qcow2 point-2.raw restored-2.qcow2
for file in notes.txt numbers.txt; do
  debugfs -R "dump /round-1/$file from-$file" restored-2.raw 2>>debugfs.log
  cmp "$file" "from-$file" || fail "/round-1/$file is not what was written"
  echo "/round-1/$file is what was written"
done
if "$lamina" compare -f raw -F raw point-0.raw restored-2.raw >/dev/null; then
  fail "points 0 and 2 compare as equal: the comparison sees nothing"
fi

heading "Done: a full backup, two incrementals, three points restored as they were"
if (($# > 0)); then echo "All files are in $folder"; fi
