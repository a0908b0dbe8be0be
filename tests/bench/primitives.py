#!/usr/bin/env python3
"""Runs the benches of the client's primitives and shows each beside the bare primitive.

    tests/bench/primitives.py [--write] [--no-run]

With --write the table goes into docs/PERFORMANCE.md. Give it a quiet machine; ours and bare take
turns only group by group.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

from page import write
from peers import ROOT

GROUPS = {
    "chunker": "8 MiB of noise; bare: a gear hash of every byte, one after another",
    "chunker that skips nothing": "the same",
    "id of 512 KiB": "bare: BLAKE3",
    "id of 4 KiB": "bare: BLAKE3",
    "seal": "1 MiB; bare: ChaCha20-Poly1305",
    "compress source": "1 MiB; bare: zstd at the same level",
    "decompress source": "1 MiB; bare: zstd",
    "compress noise": "1 MiB, found not to compress; bare: a copy",
    "pack build": "15 segments; bare: copy, ChaCha20-Poly1305 and BLAKE3 over 16 MiB",
    "look up known": "of 1 M chunks, from disk pages; bare: a hash map in memory",
    "look up unknown": "the same",
}


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def measured(group, name):
    """Median seconds of one round, and bytes of it, if it is about bytes."""
    folder = target() / "criterion" / group / name / "new"
    estimates = json.loads((folder / "estimates.json").read_text())
    throughput = json.loads((folder / "benchmark.json").read_text())["throughput"]
    return estimates["median"]["point_estimate"] / 1e9, throughput.get("Bytes")


def speed(seconds, length):
    if length is None:
        return f"{seconds * 1e6:.2f} us"
    return f"{length / seconds / 1e9:.2f} GB/s"


def table():
    lines = ["| | ours | bare | ours of bare |", "|---|---|---|---|"]
    for group, what in GROUPS.items():
        (ours, length), (bare, _) = measured(group, "ours"), measured(group, "bare")
        shown = f"{speed(ours, length)} | {speed(bare, length)} | {100 * bare / ours:.0f} %"
        lines.append(f"| {group} ({what}) | {shown} |")
    return "\n".join(lines)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--write", action="store_true", help="into docs/PERFORMANCE.md")
    words.add_argument("--no-run", action="store_true", help="of the last run")
    words = words.parse_args()
    if not words.no_run:
        command = ["cargo", "bench", "-p", "unseen-client", "--bench", "primitives"]
        subprocess.run(command, cwd=ROOT, check=True)
    shown = table()
    print(shown)
    if words.write:
        write("primitives", shown, "tests/bench/primitives.py --write")


if __name__ == "__main__":
    main()
