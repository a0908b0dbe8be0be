#!/usr/bin/env python3
"""Measures this project beside its peers, in turn, in one run, and writes the table into
docs/PERFORMANCE.md.

    tests/bench/compare.py [--corpora src,vm] [--tools unseen,bupstash:2] [--runs 3] [--write]

Corpora are folders under $CORPORA (default ~/.cache/unseen-corpora), made by corpora.py if they are
missing; peers that are not found in $PEERS/bin (default ~/.cache/unseen-peers) or on the PATH are
left out, and said so. `unseen` is target/release/backup or $UNSEEN_CLIENT; with unseen-https,
backup-server beside it or $UNSEEN_SERVER.
Every step is one process: wall and CPU seconds (wait4, children included) and peak memory (the largest process).
The local vault of `unseen` is the server's core in the same process, so its figures hold both ends;
where the server is a process of its own, its CPU time is added.
A `changed` step appends a line to 100 files (rand: overwrites 4 KiB in four), and undoes it; vm: its
next version, vm2. src at last gets a second snapshot, of src2.
Tools take turns, in another order each turn. What a tool restores first is compared with the corpus.
--memory FOLDER (a tmpfs) has corpus, vault and restored files there: then neither disk nor page cache
is measured, and no corpus may need more than a third of the memory.
Before all, four fifths of the free memory are touched once.
Several runs: the median of each figure. Machines differ and are shared: the ratios are the result.
"""

import argparse
import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import page
import places
import targets
from corpora import NEXT
from peers import TOOLS, measure

STEPS = ["first", "unchanged", "changed", "restore"]


def stored(path):
    return sum(f.lstat().st_size for f in Path(path).rglob("*") if f.is_file() and f.name != "reserve") / 1e6


def touch_memory():
    """A virtual machine gets a page of its host when it first writes to it, which costs more than
    what is measured: whichever tool came first would pay for all of them."""
    with open("/proc/meminfo") as lines:
        kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    piece = 2 << 20
    with mmap.mmap(-1, (kib * 1024 * 4 // 5) // piece * piece) as memory:
        for at in range(0, len(memory), piece):
            memory[at : at + piece] = b"\1" * piece


def some_files(path):
    """A hundred files, evenly spread."""
    out = subprocess.run(f"find {path} -type f | sort", shell=True, check=True, capture_output=True)
    lines = out.stdout.split(b"\n")[:-1]
    picks = [lines[i * len(lines) // 100] for i in range(100)]
    return [Path(os.fsdecode(p)) for p in sorted(set(picks))]


def edit(corpus, files):
    """Changes a little and returns what undoes it."""
    undo = []
    if corpus == "rand":
        for path in files[::4]:
            with open(path, "r+b") as file:
                file.seek(100_000_000)
                undo.append((path, file.read(4096)))
                file.seek(100_000_000)
                file.write(os.urandom(4096))
    else:
        for path in files:
            undo.append((path, path.stat().st_size))
            with open(path, "ab") as file:
                file.write(b"changed %d\n" % random.getrandbits(60))

    def back():
        for path, before in undo:
            if isinstance(before, int):
                os.truncate(path, before)
            else:
                with open(path, "r+b") as file:
                    file.seek(100_000_000)
                    file.write(before)

    return back


def no_change():
    """What undoes a change that was not made."""


def same(name, path, scratch):
    """Ends the whole bench if a tool did not restore what was there."""
    # Each has its own idea of how much of the path it restores.
    inside = next((d for d in (scratch, scratch / path.name, scratch / str(path).lstrip("/")) if (d / next(path.iterdir()).name).exists()), scratch)
    differs = subprocess.run(["diff", "-rq", "--no-dereference", path, inside], capture_output=True, text=True)
    if differs.returncode:
        sys.exit(f"{name} restored something else: {differs.stdout[:500]}")


def one(name, corpus, files, room, turn):
    corpora, work, scratch, log = room
    tool, result = TOOLS[name](work), {}
    path = corpora / corpus
    back = no_change
    steps = STEPS + (["check"] if hasattr(tool, "check") else []) + (["second"] if corpus == "src" else [])
    try:
        measure(tool.init(), tool.env, None, log)
        time.sleep(places.SETTLE)
        for step in steps:
            cwd = None
            if step == "changed" and corpus != "vm":
                back = edit(corpus, files)
            elif step in ("changed", "second"):
                path = corpora / f"{corpus}2"
                places.warm(path)
            if step == "restore":
                command, cwd = tool.restore(scratch), scratch
            elif step == "check":
                command = tool.check()
            else:
                command = tool.first(path)
            os.sync()
            before, (served, _) = stored(tool.repo), tool.server_figures()
            figures = measure(command, tool.env, cwd, log)
            after, figures["server_mb"] = tool.server_figures()
            figures["server_cpu"] = after - served
            figures["cpu"] += figures["server_cpu"]
            figures["stored"] = stored(tool.repo)
            figures["added"] = figures["stored"] - before
            result[step] = figures
            if step == "restore":
                if turn == 0:
                    same(name, path, scratch)
                back()
                back = no_change
            shown = {k: round(v, 2) for k, v in figures.items() if v}
            print(f"{corpus:6} {name:12} {step:10}", shown, flush=True)
    finally:
        back()
        tool.close()
    return result


def median(runs, step, figure):
    return statistics.median(run[step][figure] for run in runs)


def cell(runs, step):
    return " / ".join(f"{median(runs, step, f):.{d}f}" for f, d in (("cpu", 2), ("wall", 2), ("mb", 0)))


def times(runs, own, steps, figure):
    """How many times as much as ours; what is less than the clock tells counts as its least step."""
    return ", ".join(f"{max(median(runs, s, figure), 0.01) / max(median(own, s, figure), 0.01):.2f}" for s in steps)


def table(corpus, results):
    second = ["second"] if corpus == "src" else []
    head = ["first", "unchanged", "changed", "added MB", "restore", "stored MB" + (", then with src2" if second else "")]
    lines = [f"**{corpus}** (medians; CPU s / wall s / peak MB)", "", f"| | {' | '.join(head)} |", "|---" * 7 + "|"]
    for name, runs in results.items():
        size = ", ".join(f"{median(runs, s, 'stored'):.1f}" for s in ["first", *second])
        peak = max(median(runs, s, "server_mb") for s in STEPS)
        shown = f"{name}, {len(runs)} run{'s' if len(runs) > 1 else ''}" + (f"; server {peak:.0f} MB" if peak else "")
        cells = [cell(runs, s) for s in STEPS]
        cells.insert(3, f"{median(runs, 'changed', 'added'):.1f}")
        lines.append(f"| {shown} | {' | '.join(cells)} | {size} |")
    own = results.get("unseen")
    if own and len(results) > 1:
        lines += ["", f"| times unseen: {', '.join(STEPS)} | CPU | wall | peak | stored |", "|---" * 5 + "|"]
        for name, runs in results.items():
            if name != "unseen":
                columns = [times(runs, own, STEPS, figure) for figure in ("cpu", "wall", "mb")]
                columns.append(times(runs, own, ["first", *second], "stored"))
                lines.append(f"| {name} | {' | '.join(columns)} |")
    if own and "check" in own[0]:
        lines += ["", f"`backup check`: {cell(own, 'check')}."]
    lines += ["", f"{', '.join(sorted({TOOLS[name].version() for name in results}))}; {page.machine()}."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    places.options(parser, "src,many,mixed,rand,vm")
    parser.add_argument("--tools", default=",".join(TOOLS), help="NAME or NAME:RUNS, by comma")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    runs = {}
    for word in args.tools.split(","):
        name, _, times = word.partition(":")
        if TOOLS[name].binary and os.path.exists(TOOLS[name].binary):
            runs[name] = int(times or args.runs)
        else:
            print(f"{name} is not installed: left out", file=sys.stderr)
    touch_memory()
    log = places.log()
    for corpus in args.corpora.split(","):
        versions = [corpus, NEXT[corpus]] if corpus in NEXT else [corpus]
        places.made(versions)
        results = {name: [] for name in runs}
        with places.folder(args.memory) as copy:
            corpora = places.copied(versions, copy) if args.memory else places.CORPORA
            files = some_files(corpora / corpus)
            places.warm(corpora / corpus)
            for turn in range(max(runs.values())):
                names = [name for name, times in runs.items() if turn < times]
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    vault, restored = places.rooms(args)
                    with vault as work, restored as scratch:
                        room = corpora, Path(work), Path(scratch), log
                        results[name].append(one(name, corpus, files, room, turn))
        made = table(corpus, results)
        print(f"\n{made}\n", flush=True)
        print(json.dumps({"corpus": corpus, "results": results}))
        if args.write:
            page.write(corpus, made, places.command("compare.py", args))
            targets.rewrite()


if __name__ == "__main__":
    main()
