"""Programs that nobody here wrote, at work with the command called as qemu-img.

Wants the links qemu-img and qemu-io first in PATH, and from PyPI oslo.utils and libqcow-python;
guestfish is asked too where it is installed. Ends with 1 when one of them is not content.
"""
import os
import shutil
import subprocess
import sys
import tempfile

import pyqcow
from oslo_utils import imageutils
from oslo_utils.imageutils import format_inspector

SIZE = 8 << 20


def reads_text():
    """Whether this oslo.utils still reads the text form; newer ones read JSON alone."""
    try:
        imageutils.QemuImgInfo("image: x\nfile format: raw\n", format="human")
    except ValueError:
        return False
    return True


READS_TEXT = reads_text()


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {found!r}, not {wanted!r}")


def make(folder, name, options, base=None):
    """An image with data, zeros and holes, and the raw file that it must show."""
    image = os.path.join(folder, name)
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", options]
    if base:
        words += ["-b", base, "-F", "qcow2"]
    run(*words, image, str(SIZE))
    commands = ["write -P 0x41 0 100k", "write -P 0x42 3M 1M", "write -z 3200k 64k", "discard 4M 64k"]
    words = [word for command in commands for word in ("-c", command)]
    run("qemu-io", "-f", "qcow2", *words, image)
    raw = image + ".raw"
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
    return image, raw


def ask_oslo(image, options):
    json = imageutils.QemuImgInfo(run("qemu-img", "info", "--output=json", image), format="json")
    expect("oslo.utils, JSON: format", json.file_format, "qcow2")
    expect("oslo.utils, JSON: size", json.virtual_size, SIZE)
    if READS_TEXT:
        human = imageutils.QemuImgInfo(run("qemu-img", "info", image), format="human")
        expect("oslo.utils, text: format", human.file_format, "qcow2")
        expect("oslo.utils, text: size", human.virtual_size, SIZE)
        expect("oslo.utils, text: cluster size", human.cluster_size, json.cluster_size)
        expect("oslo.utils: backing file", human.backing_file, json.backing_file)
    inspector = format_inspector.detect_file_format(image)
    expect("format inspector: format", str(inspector), "qcow2")
    expect("format inspector: size", inspector.virtual_size, SIZE)
    try:
        inspector.safety_check()
        is_safe = True
    except format_inspector.SafetyCheckFailed:
        is_safe = False
    # Extended L2 entries are a feature that it does not know.
    wanted = json.backing_file is None and "extended_l2" not in options
    expect("format inspector: safe, as it names no file", is_safe, wanted)


def ask_libqcow(image, raw, parent=None):
    file = pyqcow.file()
    file.open(image)
    if parent:
        below = pyqcow.file()
        below.open(parent)
        file.set_parent(below)
    expect("libqcow: size", file.get_media_size(), SIZE)
    with open(raw, "rb") as truth:
        wanted = truth.read()
    file.seek(0)
    found = b""
    while len(found) < SIZE:  # it reads as much at once as it likes
        found += file.read_buffer(min(65536, SIZE - len(found)))
    expect(f"libqcow: the bytes of {image}", found == wanted, True)
    file.close()


def ask_guestfish(folder, base):
    if not shutil.which("guestfish"):
        print("guestfish is not installed: left out")
        return
    image = os.path.join(folder, "guestfish.qcow2")
    script = f"""disk-create {image} qcow2 -1 backingfile:{base} backingformat:qcow2
disk-format {image}
disk-virtual-size {image}
disk-has-backing-file {image}
"""
    text = subprocess.run(
        ["guestfish"], input=script, check=True, capture_output=True, text=True).stdout
    expect("guestfish", text.split(), ["qcow2", str(SIZE), "true"])
    print("guestfish: an overlay made, its format, size and backing file told")


def main():
    with tempfile.TemporaryDirectory() as folder:
        count = 0
        base = None
        for version in ["0.10", "1.1"]:
            for cluster in [512, 4096, 65536, 2 << 20]:
                options = f"compat={version},cluster_size={cluster}"
                image, raw = make(folder, f"{version}-{cluster}.qcow2", options)
                ask_oslo(image, options)
                ask_libqcow(image, raw)
                packed = image + ".packed"
                run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, packed)
                ask_oslo(packed, options)
                # Of larger clusters in version 3 it reads zeros, in qemu-img's own images too.
                if version == "0.10" or cluster < 65536:
                    ask_libqcow(packed, raw)
                base, count = image, count + 2
        image, raw = make(folder, "overlay.qcow2", "compat=1.1", base)
        ask_oslo(image, "")
        run("qemu-img", "snapshot", "-c", "before", image)
        ask_oslo(image, "")
        for options in ["extended_l2=on", "refcount_bits=1", "lazy_refcounts=on", "preallocation=metadata"]:
            image, raw = make(folder, f"{options}.qcow2", options)
            ask_oslo(image, options)
            count += 1
        forms = "JSON and text" if READS_TEXT else "JSON; this oslo.utils reads no text"
        print(f"oslo.utils ({forms}) and its format inspector, libqcow: {count} images")
        ask_guestfish(folder, base)


main()
