#!/usr/bin/env bash
# Has programs that nobody here wrote work with the command called as qemu-img: OpenStack's
# oslo.utils and libqcow, from PyPI into a folder of their own, and guestfish where it is installed.
# LAMINA names the command. FOREIGN_OSLO chooses a version of oslo.utils: '<8' reads text, too.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ln -s "$LAMINA" "$folder/qemu-img"
ln -s "$LAMINA" "$folder/qemu-io"
python3 -m venv "$folder/python"
"$folder/python/bin/pip" install -q "oslo.utils${FOREIGN_OSLO:-}" libqcow-python cryptography setuptools
PATH="$folder:$PATH" "$folder/python/bin/python" -W ignore "$here/foreign-programs.py"
