#!/usr/bin/env python3
"""Measures this project beside its peers, in turn, in one run, and writes the table into
docs/PERFORMANCE.md.

    tests/bench/compare.py --corpora src,vm --tools unseen,bupstash,restic [--runs 3] [--write]

Corpora are folders under $CORPORA (default ~/.cache/unseen-corpora), made by corpora.py if they are
missing; peers that are not found in $PEERS/bin (default ~/.cache/unseen-peers) or on the PATH are
left out, and said so. Every step is one process: wall and CPU seconds (wait4, children included) and peak memory (the largest process).
The local vault of `unseen` is the server's core in the same process, so its figures hold both ends;
where the server is a process of its own, its CPU time is added.
A `changed` step appends a line to 100 files (rand: overwrites 4 KiB in four), and undoes it; vm: its
next version, vm2. src at last gets a second snapshot, of src2.
--memory FOLDER (a tmpfs) has corpus, vault and restored files there: then neither disk nor page cache
is measured, and no corpus may need more than a third of the memory.
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
import tempfile
import time
from pathlib import Path

import corpora as makers
from peers import ROOT, TOOLS, measure

CORPORA = Path(os.environ.get("CORPORA", Path.home() / ".cache/unseen-corpora"))
# The turn before has changed files and changed them back, and what is that young is read twice: its
# time does not tell yet whether it changes again. Nobody's files are all that young.
SETTLE = 4
STEPS = ["first", "unchanged", "changed", "restore"]


def stored(path):
    return sum(f.lstat().st_size for f in Path(path).rglob("*") if f.is_file()) / 1e6


def warm(path):
    """Everything is read once before the clock runs, so that no tool pays for the disk."""
    subprocess.run(f"find {path} -type f -print0 | xargs -0 -n 2000 cat >/dev/null", shell=True, check=True)


def touch_memory():
    """A virtual machine gets a page of its host when it first writes to it, which costs more than
    what is measured: whichever tool came first would pay for all of them."""
    with open("/proc/meminfo") as lines:
        kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    piece = 2 << 20
    with mmap.mmap(-1, (kib * 1024 * 4 // 5) // piece * piece) as memory:
        for at in range(0, len(memory), piece):
            memory[at : at + piece] = b"\1" * piece


def copied(corpus, place):
    """A corpus and its next version in memory: a million small files are not kept in the page cache."""
    for name in (corpus, f"{corpus}2"):
        if (CORPORA / name).exists():
            subprocess.run(["cp", "-a", CORPORA / name, place], check=True)
    return Path(place)


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


def one(name, corpus, files, places):
    corpora, work, scratch, log = places
    tool, result = TOOLS[name](work), {}
    path = corpora / corpus
    try:
        measure(tool.init(), tool.env, None, log)
        time.sleep(SETTLE)
        for step in STEPS + (["second"] if corpus == "src" else []):
            cwd, back, command = None, None, None
            if step == "changed" and corpus != "vm":
                back = edit(corpus, files)
            elif step in ("changed", "second"):
                path = corpora / f"{corpus}2"
                warm(path)
            if step == "restore":
                command, cwd = tool.restore(scratch), scratch
            else:
                command = tool.first(path)
            os.sync()
            before, (served, _) = stored(tool.repo), tool.server_figures()
            try:
                figures = measure(command, tool.env, cwd, log)
            finally:
                if back:
                    back()
            after, figures["server_mb"] = tool.server_figures()
            figures["server_cpu"] = after - served
            figures["cpu"] += figures["server_cpu"]
            figures["stored"] = stored(tool.repo)
            figures["added"] = figures["stored"] - before
            result[step] = figures
            shown = {k: round(v, 2) for k, v in figures.items() if v}
            print(f"{corpus:6} {name:12} {step:10}", shown, flush=True)
    finally:
        tool.close()
    return result


def median(runs, step, figure):
    return statistics.median(run[step][figure] for run in runs)


def table(corpus, results):
    second = ", then with src2" if corpus == "src" else ""
    lines = [
        f"**{corpus}** (medians; CPU s / wall s / peak MB)",
        "",
        f"| | first | unchanged | changed | added MB | restore | stored MB{second} | CPU against unseen: first, unchanged, changed, restore |",
        "|---|---|---|---|---|---|---|---|",
    ]
    own = results.get("unseen")
    for name, runs in results.items():
        cell = lambda step: " / ".join(f"{median(runs, step, f):.{d}f}" for f, d in (("cpu", 2), ("wall", 2), ("mb", 0)))
        ratios = "-"
        if own and name != "unseen":
            ratios = ", ".join(f"{median(runs, s, 'cpu') / max(median(own, s, 'cpu'), 0.01):.2f}×" for s in STEPS)
        size = f"{median(runs, 'first', 'stored'):.1f}"
        if second:
            size += f", {median(runs, 'second', 'stored'):.1f}"
        peak = max(median(runs, s, "server_mb") for s in STEPS)
        shown = f"{name}, {len(runs)} run{'s' if len(runs) > 1 else ''}"
        if peak:
            shown += f"; server {peak:.0f} MB"
        lines.append(
            f"| {shown} | {cell('first')} | {cell('unchanged')} | {cell('changed')} | "
            f"{median(runs, 'changed', 'added'):.1f} | {cell('restore')} | {size} | {ratios} |"
        )
    return "\n".join(lines)


def write(corpus, table, command):
    """Puts a corpus' table into the page, in place of the one that is there."""
    path = ROOT / "docs/PERFORMANCE.md"
    begin, end = f"<!-- bench:{corpus}:begin -->", f"<!-- bench:{corpus}:end -->"
    before, rest = path.read_text().split(begin, 1)
    _, after = rest.split(end, 1)
    made = f"`{command}`, {time.strftime('%Y-%m-%d')}"
    path.write_text(f"{before}{begin}\n{made}\n\n{table}\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default="src")
    parser.add_argument("--tools", default=",".join(TOOLS), help="NAME or NAME:RUNS, by comma")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--work", default=None, help="where repositories go")
    parser.add_argument("--scratch", default=None, help="where restored files go, if elsewhere")
    parser.add_argument("--memory", default=None, help="a tmpfs for everything, a copy of the corpus too")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/PERFORMANCE.md")
    args = parser.parse_args()
    runs = {}
    for word in args.tools.split(","):
        name, _, times = word.partition(":")
        if TOOLS[name].binary and os.path.exists(TOOLS[name].binary):
            runs[name] = int(times or args.runs)
        else:
            print(f"{name} is not installed: left out", file=sys.stderr)
    touch_memory()
    folder = lambda at: tempfile.TemporaryDirectory(dir=at, ignore_cleanup_errors=True)
    work, scratch = args.work or args.memory, args.scratch or args.memory or args.work
    log = Path(tempfile.gettempdir()) / f"unseen-bench-{os.getpid()}.log"
    for corpus in args.corpora.split(","):
        for name in filter(None, (corpus, makers.NEXT.get(corpus))):
            makers.make(name, CORPORA)
        results = {name: [] for name in runs}
        with folder(args.memory) as copy:
            corpora = copied(corpus, copy) if args.memory else CORPORA
            files = some_files(corpora / corpus)
            warm(corpora / corpus)
            for turn in range(max(runs.values())):
                for name in [name for name, times in runs.items() if turn < times]:
                    with folder(work) as vault, folder(scratch) as restored:
                        places = corpora, Path(vault), Path(restored), log
                        results[name].append(one(name, corpus, files, places))
        made = table(corpus, results)
        print(f"\n{made}\n", flush=True)
        print(json.dumps({"corpus": corpus, "results": results}))
        if args.write:
            words = [w for w in sys.argv[1:] if w not in (args.work, args.scratch, "--work", "--scratch")]
            words = ["FOLDER" if w == args.memory else w for w in words]
            write(corpus, made, " ".join(["tests/bench/compare.py", *words]))


if __name__ == "__main__":
    main()
