#!/usr/bin/env python3
"""How time and memory grow with the number of snapshots in a local vault.

    tests/bench/snapshots.py [--sizes 100,1000,10000] [--work FOLDER] [--write]

One vault grows: each snapshot is a run of its own after one line was added to one of twenty files,
so ten thousand take some minutes. At each size the commands are measured. Then a compaction joins
the small packs, and all but one are forgotten; what that frees goes when the grace is over, which
no clock here can hurry. With --write the table goes into docs/PERFORMANCE.md.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from growth import table
from page import write
from peers import SERVER, Unseen, measure
from places import SETTLE

FILES = 20
STEPS = {
    "run": "run with `--skip-if-unchanged` that finds nothing",
    "snapshots": "snapshots",
    "ls": "ls of the newest, by the passphrase",
    "server": "the server opens the account (its GC, that finds nothing due)",
    "scrub": "scrub of all that is stored, every signature of the log included",
    "compact": "plan of a compaction",
}
LAST = {"write": "compact, which joins the small packs", "forget": "forget all but the newest"}


def stored(folder):
    """Bytes and files of the account."""
    files = [path.stat().st_size for path in (folder / "accounts").rglob("*") if path.is_file()]
    return sum(files), len(files)


def grow(tool, tree, env, first, last):
    for number in range(first, last):
        with open(tree / str(number % FILES), "a") as out:
            out.write(f"line {number}\n")
        subprocess.run(tool.first(tree), env=env, check=True, stderr=subprocess.DEVNULL)


def steps(tool, tree, secretless):
    binary = [tool.binary, "-q"]
    server = [SERVER, "gc", "--data", str(tool.repo)]
    return {
        "run": ([*tool.first(tree), "--skip-if-unchanged"], secretless),
        "snapshots": ([*binary, "snapshots"], secretless),
        "ls": ([*binary, "ls", f"latest:{tree}"], tool.env),
        "server": (server, secretless),
        "scrub": ([SERVER, "scrub", "--data", str(tool.repo)], secretless),
        "compact": ([*binary, "compact", "-n"], tool.env),
    }


def one(name, command, env, log):
    # The first of two fills the caches, and notes what it has checked.
    measure(command, env, None, log)
    figures = measure(command, env, None, log)
    rounded = {key: round(figure, 2) for key, figure in figures.items()}
    print(f"{name:>20} {rounded}", flush=True)
    return figures


def after(tool, log):
    """What the end costs: a compaction that writes, and everything forgotten but one."""
    binary = [tool.binary, "-q", "--yes"]
    commands = {
        "write": [*binary, "compact"],
        "forget": [*binary, "forget", "--keep-last", "1"],
    }
    lines = ["", "| | CPU s / wall s / peak MB | stored bytes, files afterwards |", "|---|---|---|"]
    for step, what in LAST.items():
        cost = measure(commands[step], tool.env, None, log)
        size, files = stored(tool.repo)
        lines.append(f"| {what} | {cost['cpu']:.2f} / {cost['wall']:.2f} / {cost['mb']:.0f} | {size:,}, {files:,} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--sizes", default="100,1000,10000")
    words.add_argument("--work", default=None, help="where vault and tree go")
    words.add_argument("--write", action="store_true")
    words = words.parse_args()
    sizes = sorted(int(size) for size in words.sizes.split(","))
    results = {}
    with tempfile.TemporaryDirectory(dir=words.work, ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        tree, log = folder / "tree", folder / "log"
        for made in (tree, folder / "tool"):
            made.mkdir()
        tool = Unseen(folder / "tool")
        measure(tool.init(), tool.env, None, log)
        secretless = {name: value for name, value in tool.env.items() if name != "BACKUP_PASSPHRASE"}
        there = 0
        for size in sizes:
            grow(tool, tree, secretless, there, size)
            there = size
            time.sleep(SETTLE)
            commands = steps(tool, tree, secretless)
            results[size] = {name: one(f"{size} {name}", *command, log) for name, command in commands.items()}
            print(f"{size:>9} stored {stored(tool.repo)}", flush=True)
        made = table(results, STEPS) + "\n" + after(tool, log)
    print(made)
    if words.write:
        write("snapshots", made, f"tests/bench/snapshots.py --sizes {words.sizes} --write")


if __name__ == "__main__":
    main()
