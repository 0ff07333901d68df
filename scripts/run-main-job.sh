#!/usr/bin/env bash
# The main job, on a real file system: ext4 with 270 MiB of files, this repository's among them,
# lives in a qcow2 disk. The disk is backed up in full, changed three times, each time backed up
# incrementally; every point in time is restored, compared byte for byte and checked; and a damaged
# backup has to be noticed. Stops with a message at the first thing that is wrong.
#   LAMINA=path/to/lamina scripts/run-main-job.sh [FOLDER]
# FOLDER keeps all files for a look; without it they lie in a temporary folder (TMPDIR) and are
# removed. Needs bash, coreutils, cmp, e2fsprogs and 4 GiB of room; uses qemu-img where it is there.
# No root. The files come from a fixed seed: two runs of one tree back up the same bytes.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
lamina=$(realpath -m -- "${LAMINA:-.build/release/lamina}")
repository=$(realpath -- "$(dirname "$0")/..")
if [[ ! -x $lamina ]]; then
  echo "No lamina at $lamina: build it, or name it by LAMINA." >&2
  exit 1
fi
size_mib=512  # of the disk
rounds=3
block=65536  # changes are found in blocks of this many bytes
longest_run=256  # blocks written by one request

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

fail() {
  trap - ERR
  echo "FAILED after $SECONDS s: $*" >&2
  exit 1
}
trap 'fail "\"$BASH_COMMAND\" ended with status $?"' ERR
set -o errtrace
trap 'exit 130' INT TERM  # EXIT cleans up

heading() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }

# --- Figures -------------------------------------------------------------------------------------

microseconds() { echo "${EPOCHREALTIME/[.,]/}"; }

# "$1: N MiB in S s, R MiB/s" for $2 bytes since $3, and a row for the table at the end.
declare -a table=()
tell_rate() {
  local took=$(($(microseconds) - $3)) mib tenths rate
  mib=$(($2 / 1048576))
  tenths=$((took / 100000))
  rate=$(($2 * 1000 / (took + 1) * 1000 / 1048576))
  table+=("$(printf '%-34s %6d MiB %4d.%d s %6d MiB/s' \
    "$1" "$mib" "$((tenths / 10))" "$((tenths % 10))" "$rate")")
  echo "${table[-1]}"
}

# The bytes that a file has on the disk.
stored_bytes() { echo "$(($(stat -c '%b * %B' -- "$1")))"; }

# --- Files ---------------------------------------------------------------------------------------

# Copies the files that git tracks, or the sources when there is no git, to `tree`.
copy_repository() {
  local file files=() present=()
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
  echo "${#present[@]} files of this repository"
}

# Writes `pool`: 86 MiB in which no 4 KiB are like any others, the numbers of 8 digits from a seed.
make_pool() {
  # The reader of the seed stops early.
  shuf -i 10000000-19999999 --random-source=<(seq 1 20000000 || true) >pool
}

# $2 bytes of the pool from byte $1 on.
slice() {
  dd if=pool skip="$1" count="$2" iflag=skip_bytes,count_bytes,fullblock bs=1M status=none
}

# Makes files $1aaaa, $1aaab, … of $2 bytes each, $3 in number, from byte $4 of the pool on.
make_files() {
  slice "$4" "$(($2 * $3))" | split -a 4 -b "$2" - "$1"
  echo "$3 files of $2 bytes"
}

make_tree() {
  mkdir tree tree/large tree/medium tree/small
  copy_repository
  make_pool
  make_files tree/large/a 41943041 2 0
  make_files tree/large/b 10485760 8 777
  make_files tree/medium/a 1048583 76 4321
  make_files tree/medium/b 65537 400 98765
  make_files tree/small/a 3001 2000 1234567
  : >tree/empty
}

# --- Changes -------------------------------------------------------------------------------------

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
  dd if="$3" of="pieces/$1" bs="$block" skip="$1" count="$2" status=none
  commands+=("write -s pieces/$1 $(($1 * block)) $(($2 * block))")
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
  printf '%s\n' "${commands[@]}" flush >pieces/commands
  "$lamina" io -f qcow2 disk.qcow2 <pieces/commands >>io.log
  rm -r pieces
  echo "$changed blocks of $((block / 1024)) KiB written in ${#commands[@]} requests"
}

# Changes the file system of point-$1.raw by debugfs commands from standard input: point-$2.raw.
# They name files without folders: for /NAME debugfs 1.47 removes the entry in its current folder.
change_file_system() {
  cp --sparse=always "point-$1.raw" "point-$2.raw"
  debugfs -w -f /dev/stdin "point-$2.raw" >>debugfs.log 2>debugfs.errors
  # It succeeds whatever happens; but after its version it complains of what went wrong.
  if grep -qv '^debugfs ' debugfs.errors; then
    fail "debugfs could not change the files: $(grep -v '^debugfs ' debugfs.errors)"
  fi
  check_file_system "point-$2.raw"
}

check_file_system() {
  e2fsck -fn "$1" >e2fsck.log 2>&1 || fail "e2fsck finds errors in $1: $(<e2fsck.log)"
  echo "e2fsck: clean; $(tail -n 1 e2fsck.log)"
}

# The next round: writes what changed, draws it, and backs it up.
back_up_changes() {
  local dirty start
  write_changes "point-$1.raw" "point-$2.raw"
  heading "Round $2: what the disk's bitmap says is dirty"
  "$lamina" bitmap dump disk.qcow2
  back_up "$2" "incremental backup $2"
}

# Makes backup $1, called $2 in the table.
back_up() {
  local start file
  heading "Round $1: $2"
  start=$(microseconds)
  "$lamina" backup create disk.qcow2 --to backups
  file=backups/$(printf '%06d' "$1").qcow2
  tell_rate "$2" "$(stored_bytes "$file")" "$start"
  "$lamina" check "$file" >check.log || fail "lamina check $file: $(<check.log)"
  "$lamina" check disk.qcow2 >check.log || fail "lamina check disk.qcow2: $(<check.log)"
  if ((has_qemu)); then
    qemu-img check -q "$file" || fail "qemu-img check finds errors in $file"
    qemu-img check -q disk.qcow2 || fail "qemu-img check finds errors in disk.qcow2"
  fi
  "$lamina" compare -q -f raw -F qcow2 "point-$1.raw" disk.qcow2 \
    || fail "the disk does not hold what was written to it"
}

# --- Proof ---------------------------------------------------------------------------------------

# Restores point $1 and compares it with what the disk held then.
check_point() {
  local start file
  heading "Point $1: restore, compare, check the file system"
  file=backups/$(printf '%06d' "$1").qcow2
  start=$(microseconds)
  "$lamina" backup restore backups "restored-$1.raw" --at "$1" -O raw
  tell_rate "restore of point $1" "$(stored_bytes "restored-$1.raw")" "$start"
  cmp "point-$1.raw" "restored-$1.raw" || fail "point $1 was not restored as it was"
  echo "cmp: byte for byte what the disk held"
  if ((has_qemu)); then
    qemu-img compare -q -f raw -F qcow2 "point-$1.raw" "$file" \
      || fail "qemu-img reads something else from $file"
    echo "qemu-img: reads the same from $file"
  fi
  check_file_system "restored-$1.raw"
}

# Changes a byte of the data that backup $1's file has itself, as a disk that goes bad would.
damage() {
  local file offset byte
  file=backups/$(printf '%06d' "$1").qcow2
  offset=$("$lamina" map --output=json "$file" \
    | sed -n '/"depth": 0,.*"data": true/s/.*"offset": \([0-9]*\).*/\1/p' | tail -n 1)
  if [[ -z $offset ]]; then fail "found no data in $file"; fi
  offset=$((offset + 1000))
  byte=$(od -An -tu1 -j "$offset" -N 1 "$file")
  printf "\\x$(printf %x $((byte ^ 1)))" \
    | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
  echo "one bit of $file changed, at byte $offset"
}

# Damages the last backup: verify and the comparison have to notice; then takes it back.
check_the_checks() {
  local last file status=0
  last=$rounds
  file=backups/$(printf '%06d' "$last").qcow2
  cp "$file" undamaged
  damage "$last"
  "$lamina" backup verify backups >verify.log || status=$?
  cat verify.log
  ((status == 2)) || fail "verify ended with status $status, not 2, at a damaged backup"
  "$lamina" backup restore backups damaged.raw --at "$last" -O raw
  if cmp "point-$last.raw" damaged.raw; then fail "cmp did not see a changed byte"; fi
  rm damaged.raw
  mv undamaged "$file"
  "$lamina" backup verify backups >verify.log \
    || fail "verify complains of a backup that was put back as it was: $(<verify.log)"
  if "$lamina" compare -q -f raw -F raw point-0.raw "point-$last.raw"; then
    fail "points 0 and $last compare as equal: the comparison sees nothing"
  fi
  echo "The damage was noticed, and is gone again"
}

# --- The job -------------------------------------------------------------------------------------

free_kib=$(df --output=avail -k . | tail -n 1)
if ((free_kib < 4 * 1048576)); then
  fail "$folder has $((free_kib / 1024)) MiB free; name a place with 4 GiB by TMPDIR"
fi
has_qemu=0
if command -v qemu-img >/dev/null; then has_qemu=1; fi
if ((!has_qemu)); then echo "qemu-img is not installed: its checks are left out"; fi

heading "An ext4 file system of $size_mib MiB"
make_tree
data=$(du -sb --apparent-size tree | cut -f 1)
files=$(find tree -type f | wc -l)
echo "$files files, $((data / 1048576)) MiB"
if ((data < 256 * 1048576)); then fail "there should be 256 MiB of files"; fi
mke2fs -q -t ext4 -E root_owner=0:0 -d tree -L lamina point-0.raw "${size_mib}M" >mke2fs.log
check_file_system point-0.raw

heading "The same, as a qcow2 disk"
"$lamina" create -f qcow2 disk.qcow2 "${size_mib}M"
truncate -s "${size_mib}M" empty.raw
block=1048576 longest_run=16 write_changes empty.raw point-0.raw
"$lamina" info disk.qcow2

back_up 0 "full backup"

heading "Round 1: files added, some gone"
seq 1 20000 >notes.txt
slice 5555555 25165824 >added
change_file_system 0 1 <<'COMMANDS'
rm LICENSE
cd small
rm aaaaa
rm aaaab
rm aaaac
cd /
mkdir round-1
cd round-1
write notes.txt notes.txt
write added added
write tree/LICENSE LICENSE
write tree/Package.swift Package.swift
symlink link notes.txt
COMMANDS
back_up_changes 0 1

heading "Round 2: files replaced, changed in place, and a large one gone"
seq 20000 -1 1 >notes.txt
seq 1 1000000 >numbers.txt
change_file_system 1 2 <<'COMMANDS'
rm Package.swift
cd round-1
rm notes.txt
write notes.txt notes.txt
write numbers.txt numbers.txt
cd /large
rm aaaaa
zap_block -f /large/aaaab -p 0x5a 17
zap_block -f /large/aaaab -p 0x5b 5000
zap_block -f /medium/aaaaa -p 0x5c 3
COMMANDS
back_up_changes 1 2

heading "Round 3: new files in the space that became free, and small ones all over"
slice 31415926 31457281 >grown
change_file_system 2 3 < <(
  echo "mkdir round-3"
  echo "cd round-3"
  echo "write grown grown"
  for name in tree/Sources/*/*.swift; do echo "write $name $(basename "$name")"; done
  echo "cd /medium"
  for name in tree/medium/baa[a-e]a; do echo "rm $(basename "$name")"; done
)
back_up_changes 2 3

heading "The backups, and what each holds"
"$lamina" backup list backups --map
"$lamina" bitmap list disk.qcow2
start=$(microseconds)
"$lamina" backup verify backups --against disk.qcow2
tell_rate "verify, and compare with the disk" "$(($(cat backups/*.qcow2 | wc -c)))" "$start"

for ((point = 0; point <= rounds; point++)); do
  check_point "$point"
  if ((point < rounds && $# == 0)); then rm "restored-$point.raw"; fi
done

heading "The last point as qcow2, and its files"
"$lamina" backup restore backups restored-3.qcow2 -O qcow2
"$lamina" check restored-3.qcow2
"$lamina" compare -f raw -F qcow2 point-3.raw restored-3.qcow2
for file in round-1/notes.txt round-1/numbers.txt round-3/grown; do
  debugfs -R "dump /$file dumped" restored-3.raw 2>>debugfs.log
  cmp "$(basename "$file")" dumped || fail "/$file is not what was written"
  echo "/$file is what was written"
done

heading "Can the checks fail? A bit of the last backup is turned over"
check_the_checks

heading "Done: a full backup and $rounds incrementals; $((rounds + 1)) points restored as they were"
printf '%s\n' "${table[@]}"
if (($# > 0)); then echo "All files are in $folder"; fi
