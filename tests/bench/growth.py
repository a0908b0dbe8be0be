#!/usr/bin/env python3
"""How time and memory grow with the number of files, each of which is a chunk of its own.

    tests/bench/growth.py [--sizes 10000,100000,1000000] [--work FOLDER] [--write]

Each size is a tree of so many files of some hundred bytes, a thousand in a folder, and a vault of
its own beside it. With --write the table goes into docs/PERFORMANCE.md and the plots into
docs/plots (needs matplotlib). Ten million files need 12 GB of room and as many inodes; with --image
the trees are made in an ext4 image of that size (root), with files inside of their inodes.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import targets
from page import write
from peers import ROOT, SERVER, Unseen, measure
from places import SETTLE

IN_A_FOLDER = 1000
STEPS = {
    "first": "first run",
    "find": "`find -size`, which looks at every file, and warms the caches",
    "unchanged": "unchanged run",
    "changed": "one file changed",
    "index": "restore of one file, with all tables of contents to be read first",
    "one file": "restore of one file",
    "snapshots": "snapshots",
    "check": "check of the structure",
    "compact": "plan of a compaction",
    "gc": "the server's GC, that finds nothing due",
}


def place_of(tree, file):
    folder = file // IN_A_FOLDER
    return tree / f"{folder // 100:03}" / f"{folder:05}" / str(file)


def fill(tree, number):
    for at in range(0, number, IN_A_FOLDER):
        folder = place_of(tree, at).parent
        folder.mkdir(parents=True)
        for file in range(at, min(at + IN_A_FOLDER, number)):
            with open(folder / str(file), "xb", buffering=0) as out:
                out.write(b"file %d, whose content is its number: %x\n" % (file, file * 0x9E3779B97F4A7C15))


def one_size(work, tree, number, log):
    fill(tree, number)
    tool = Unseen(work)
    measure(tool.init(), tool.env, None, log)
    binary, run = [tool.binary, "-q"], tool.first(tree)
    before, last = (place_of(tree, number - behind) for behind in (2, 1))
    commands = {
        "first": run,
        "find": ["find", str(tree), "-size", "+1k"],
        "unchanged": run,
        "changed": run,
        "index": [*binary, "restore", f"latest:{before}", "--target", str(work / "restored")],
        "one file": [*binary, "restore", f"latest:{last}", "--target", str(work / "restored")],
        "snapshots": [*binary, "snapshots"],
        "check": [*binary, "check"],
        "compact": [*binary, "compact", "-n"],
        "gc": [SERVER, "gc", "--data", str(tool.repo)],
    }
    # These ask for no secret; whoever has one at hand pays for opening it.
    secretless = {name: value for name, value in tool.env.items() if name != "BACKUP_PASSPHRASE"}
    time.sleep(SETTLE)
    figures = {}
    for step, command in commands.items():
        if step == "changed":
            with open(last, "ab") as out:
                out.write(b"changed\n")
        env = secretless if step in ("snapshots", "gc") else tool.env
        figures[step] = measure(command, env, None, log)
        shown = {name: round(figure, 2) for name, figure in figures[step].items()}
        print(f"{number:>9} {step:10} {shown}", flush=True)
    for file in (before, last):
        if (work / "restored" / file.name).read_bytes() != file.read_bytes():
            sys.exit("what was restored differs")
    return figures


def table(results):
    sizes = list(results)
    head = "".join(f" {number:,} |" for number in sizes)
    lines = [f"| CPU s / wall s / peak MB |{head}", "|---|" + "---|" * len(sizes)]
    for step, what in STEPS.items():
        cells = [results[number][step] for number in sizes]
        row = "".join(f" {c['cpu']:.2f} / {c['wall']:.2f} / {c['mb']:.0f} |" for c in cells)
        lines.append(f"| {what} |{row}")
    lines += ["", "![seconds](plots/growth-cpu.svg) ![memory](plots/growth-mb.svg)"]
    return "\n".join(lines)


def plot(results):
    """Straight lines of slope one grow as the number of files does."""
    # Not at the top: only plots need it.
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "unseen", "svg.fonttype": "none"})
    from matplotlib import pyplot

    folder = ROOT / "docs/plots"
    folder.mkdir(exist_ok=True)
    for figure, label in (("cpu", "seconds of processor"), ("mb", "peak memory, MB")):
        picture, axes = pyplot.subplots(figsize=(6.4, 4.2))
        for step, what in STEPS.items():
            # What is less than the clock shows is drawn as its least step.
            values = [max(one[step][figure], 0.01) for one in results.values()]
            axes.plot(list(results), values, "s--" if step == "find" else "o-", label=what)
        axes.set(xscale="log", xlabel="files", ylabel=label)
        axes.set_yscale("log" if figure == "cpu" else "linear")
        axes.set_ylim(bottom=None if figure == "cpu" else 0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        picture.tight_layout()
        picture.savefig(folder / f"growth-{figure}.svg", metadata={"Date": None})


@contextlib.contextmanager
def image(folder, most):
    """A file system for so many files, in a file: each in its inode, which is quick and small."""
    file, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with open(file, "wb") as out:
        out.truncate(most * 700 + (2 << 30))
    options = ["-q", "-F", "-m", "0", "-I", "256", "-N", str(most + most // 50 + 100_000), "-O", "inline_data,^has_journal"]
    subprocess.run(["mkfs.ext4", *options, str(file)], check=True)
    subprocess.run(["mount", "-o", "loop,noatime", str(file), str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--sizes", default="10000,100000,1000000")
    words.add_argument("--work", default=None, help="where vaults and trees go")
    words.add_argument("--image", action="store_true")
    words.add_argument("--write", action="store_true")
    words = words.parse_args()
    sizes = [int(size) for size in words.sizes.split(",")]
    results = {}
    for number in sizes:
        with tempfile.TemporaryDirectory(dir=words.work, ignore_cleanup_errors=True) as folder:
            folder = Path(folder)
            (folder / "tool").mkdir()
            with image(folder, number) if words.image else contextlib.nullcontext(folder) as room:
                results[number] = one_size(folder / "tool", room / "tree", number, folder / "log")
            shutil.rmtree(folder / "tool")
    made = table(results)
    print(made)
    if words.write:
        plot(results)
        options = ["--sizes", words.sizes, *(["--image"] if words.image else []), "--write"]
        write("growth", made, " ".join(["tests/bench/growth.py", *options]))
        targets.rewrite()


if __name__ == "__main__":
    main()
