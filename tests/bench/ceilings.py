#!/usr/bin/env python3
"""The most memory that each command takes, of every corpus, beside the limits that the README states.

    tests/bench/ceilings.py [--corpora src,vm] [--runs 1] [--memory FOLDER] [--write]

A local vault: first backup, unchanged run, restore, check of the structure, check of all data. Then a vault on
backup-server over TLS on loopback: the first backup and the restore, the peak of either end. Of
several runs the largest counts. It ends with 1 and names what is above its limit.
MB are millions of bytes, as in the README; compare.py tells them as the design does, in units of 1024 KiB.
Corpora are folders under $CORPORA (default ~/.cache/unseen-corpora), made by corpora.py if they are missing.
The programs are target/release/backup and backup-server, or $UNSEEN_CLIENT and $UNSEEN_SERVER.
--memory FOLDER (a tmpfs) has corpus, vault and restored files there.
Ten million chunks are growth.py's.
"""

import argparse
import sys
import time
from pathlib import Path

import page
import places
import targets
from peers import TOOLS, forget_peak, measure

# MB, of issue and README.
CLIENT, SERVER = 200, 150
COLUMNS = [
    ("first backup", CLIENT),
    ("unchanged run", CLIENT),
    ("restore", CLIENT),
    ("`check`", CLIENT),
    ("`check --read-data`", CLIENT),
    ("first backup over HTTPS", CLIENT),
    ("its server", SERVER),
    ("restore over HTTPS", CLIENT),
    ("its server", SERVER),
]


def millions(mib):
    return mib * (1 << 20) / 1e6


def local(tool, path, scratch, log):
    peak = lambda command: measure(command, tool.env, scratch, log)["mb"]
    peak(tool.init())
    time.sleep(places.SETTLE)
    return [
        peak(tool.first(path)),
        peak(tool.first(path)),
        peak(tool.restore(scratch)),
        peak(tool.check()),
        peak(tool.check("--read-data")),
    ]


def https(tool, path, scratch, log):
    peaks = []
    measure(tool.init(), tool.env, None, log)
    for command in (tool.first(path), tool.restore(scratch)):
        peaks.append(measure(command, tool.env, None, log)["mb"])
        peaks.append(tool.server_figures()[1])
        forget_peak(tool.server.pid)
    return peaks


def one(path, args, log):
    """One run: a peak for each column."""
    peaks = []
    for name, steps in (("unseen", local), ("unseen-https", https)):
        vault, restored = places.rooms(args)
        with vault as work, restored as scratch:
            tool = TOOLS[name](Path(work))
            try:
                peaks += steps(tool, path, Path(scratch), log)
            finally:
                tool.close()
    return [millions(peak) for peak in peaks]


def table(results):
    lines = [f"| peak MB | {' | '.join(name for name, _ in COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    lines.append(f"| **limit** | {' | '.join(str(limit) for _, limit in COLUMNS)} |")
    for corpus, peaks in results.items():
        lines.append(f"| {corpus} | {' | '.join(f'{peak:.0f}' for peak in peaks)} |")
    return "\n".join([*lines, "", f"{TOOLS['unseen'].version()}; {page.machine()}."])


def exceeded(results):
    """What is above its limit, in words."""
    for corpus, peaks in results.items():
        for (column, limit), peak in zip(COLUMNS, peaks, strict=True):
            if peak > limit:
                yield f"{corpus}, {column}: {peak:.1f} MB, and {limit} are the limit"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    places.options(parser, "src,rand,vm,many,mixed")
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    results = {}
    names, log = args.corpora.split(","), places.log()
    places.made(names)
    for corpus in names:
        with places.folder(args.memory) as copy:
            corpora = places.copied([corpus], copy) if args.memory else places.CORPORA
            runs = [one(corpora / corpus, args, log) for _ in range(args.runs)]
        results[corpus] = [max(peaks) for peaks in zip(*runs, strict=True)]
        print(f"{corpus:6}", ", ".join(f"{name} {peak:.0f}" for (name, _), peak in zip(COLUMNS, results[corpus], strict=True)), flush=True)
    made = table(results)
    print(f"\n{made}\n", flush=True)
    if args.write:
        page.write("ceilings", made, places.command("ceilings.py", args))
        targets.rewrite()
    if above := list(exceeded(results)):
        sys.exit("\n".join(above))


if __name__ == "__main__":
    main()
