#!/usr/bin/env python3
"""Makes the corpora of compare.py, the same contents on every machine but for `mixed` (and for times in vm).

    tests/bench/corpora.py [NAME ...] [--in FOLDER]

    src, src2   two versions of the Linux source (Debian's packages linux-source-6.1 and -6.12)
    rand        16 files of 256 MiB that do not compress
    mixed       programs, libraries and documents of this machine's /usr
    vm, vm2     an ext4 image of 4 GiB and a tar of src; the image with every fiftieth 64 KiB
                overwritten, the tar with 1 MiB put into it
    many        a million files of up to 4 KiB in 10 101 directories
    tiny        20 000 files of up to 4 KiB in 202 directories, and 64 MiB of noise in two

FOLDER is $CORPORA, or ~/.cache/unseen-corpora if that is not set. All need 20 GB and some ten
minutes. What is there is not made again. rand needs openssl, vm mke2fs.
"""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CORPORA = Path(os.environ.get("CORPORA", Path.home() / ".cache/unseen-corpora"))
MIB = 1 << 20
UUID = "22222222-2222-2222-2222-222222222222"
SEED = "11111111-1111-1111-1111-111111111111"
# Of /usr, as far as they are there.
SYSTEM = ["share", "bin", "include", "lib/x86_64-linux-gnu", "lib/jvm", "lib/llvm-14", "lib/python3",
          "lib/python3.11", "lib/gcc"]


def run(*words, **more):
    subprocess.run([str(word) for word in words], check=True, **more)


def source(version):
    """A kernel's source as Debian packs it."""
    def make(place, _corpora):
        name = f"linux-source-{version}"
        packed = Path(f"/usr/src/{name}.tar.xz")
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            if not packed.exists():
                try:
                    run("apt-get", "-q", "download", name, cwd=folder)
                    run("dpkg-deb", "-x", *Path(folder).glob("*.deb"), folder)
                except (OSError, subprocess.CalledProcessError):
                    sys.exit(f"{name} is neither installed nor to be had by apt-get: put its "
                             f"tar.xz into /usr/src, or leave this corpus out")
                packed = Path(folder) / packed.relative_to("/")
            run("tar", "-xf", packed, "-C", place, "--strip-components=1")
    return make


def rand(place, _corpora):
    for number in range(16):
        key = hashlib.sha256(f"corpus-rand-{number:02}".encode()).hexdigest()[:32]
        with open("/dev/zero", "rb") as zero, open(place / f"f{number:02}.bin", "wb") as out:
            head = subprocess.Popen(["head", "-c", str(256 * MIB)], stdin=zero, stdout=subprocess.PIPE)
            run("openssl", "enc", "-aes-128-ctr", "-K", key, "-iv", "0" * 32, "-nosalt",
                stdin=head.stdout, stdout=out)
            head.stdout.close()
            head.wait()


def mixed(place, _corpora):
    (place / "usr").mkdir()
    there = [name for name in SYSTEM if (Path("/usr") / name).is_dir()]
    pack = subprocess.Popen(["tar", "-C", "/usr", "-cf", "-", *there], stdout=subprocess.PIPE)
    run("tar", "-C", place / "usr", "-xf", "-", stdin=pack.stdout)
    pack.stdout.close()
    if pack.wait():
        sys.exit("/usr could not be read whole")


def vm(place, corpora):
    src, src2 = corpora / "src", corpora / "src2"
    image = place / "sparse.img"
    with tempfile.TemporaryDirectory(dir=corpora) as folder:
        run("cp", "-a", f"{src}/.", folder)
        (Path(folder) / "second").mkdir()
        run("cp", "-a", f"{src2}/.", Path(folder) / "second")
        run("truncate", "-s", 4096 * MIB, image)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-E",
            f"lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed={SEED}", "-U", UUID, "-d",
            folder, image, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    # Everybody is to read 4 GiB: mke2fs leaves holes.
    run("cp", "--sparse=never", image, place / "disk.img")
    image.unlink()
    run("tar", "-C", src, "-cf", place / "tree.tar", "--sort=name", ".")


def vm2(place, corpora):
    before = corpora / "vm"
    shutil.copy(before / "disk.img", place / "disk.img")
    dice = random.Random(42)
    blocks = 4096 * MIB // 65536
    with open(place / "disk.img", "r+b") as image:
        for block in dice.sample(range(blocks), blocks * 2 // 100):
            image.seek(block * 65536)
            image.write(dice.randbytes(65536))
    with open(before / "tree.tar", "rb") as old, open(place / "tree.tar", "wb") as new:
        new.write(old.read(512 * 7777 + 100))
        new.write(random.Random(7).randbytes(MIB))
        shutil.copyfileobj(old, new, 4 * MIB)


def small_files(place, directories):
    """A hundred files in each directory, text that has pieces in common."""
    dice = random.Random(1)
    letters = b"abcdefghijklmnopqrstuvwxyz"
    words = [bytes(dice.choice(letters) for _ in range(dice.randint(2, 10))) for _ in range(4000)]
    text = b" ".join(dice.choice(words) for _ in range(600_000))
    for number in range(directories):
        directory = place / f"d{number // 100:02}" / f"s{number % 100:02}"
        directory.mkdir(parents=True)
        for file in range(100):
            length, start = dice.randint(0, 4096), dice.randrange(len(text) - 4096)
            first = b"%d\n" % dice.getrandbits(64)
            (directory / f"f{file:03}.txt").write_bytes((first + text[start:start + length])[:length])


def many(place, _corpora):
    small_files(place, 10_000)


def tiny(place, _corpora):
    small_files(place, 200)
    dice = random.Random(2)
    for number in range(2):
        (place / f"noise{number}").write_bytes(dice.randbytes(32 * MIB))


# In an order in which each finds what it is made of.
MAKERS = {"src": source("6.1"), "src2": source("6.12"), "rand": rand, "mixed": mixed, "vm": vm,
          "vm2": vm2, "many": many, "tiny": tiny}
MADE_OF = {"vm": ["src", "src2"], "vm2": ["vm"]}
NEXT = {"src": "src2", "vm": "vm2"}


def make(name, corpora):
    """A corpus and what it needs, unless it is there."""
    if (corpora / name).is_dir():
        return
    for other in MADE_OF.get(name, []):
        make(other, corpora)
    print(f"making the corpus {name}", file=sys.stderr, flush=True)
    corpora.mkdir(parents=True, exist_ok=True)
    half = corpora / f"{name}.half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    MAKERS[name](half, corpora)
    half.rename(corpora / name)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("names", nargs="*", metavar="NAME", help="all, if none is named")
    words.add_argument("--in", dest="place", type=Path, default=CORPORA)
    args = words.parse_args()
    for name in args.names:
        if name not in MAKERS:
            words.error(f"no corpus {name}: there are {', '.join(MAKERS)}")
    for name in args.names or MAKERS:
        make(name, args.place)


if __name__ == "__main__":
    main()
