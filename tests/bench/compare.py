#!/usr/bin/env python3
"""Measures this project beside its peers, in turn, in one run, and writes the table into
docs/PERFORMANCE.md.

    tests/bench/compare.py --corpora src,vm --tools unseen,bupstash,restic [--runs 3] [--write]

Corpora are folders under $CORPORA (default ~/.cache/unseen-corpora); peers that are not found in
$PEERS/bin (default ~/.cache/unseen-peers) or on the PATH are left out, and said so. Every step is
one process: wall and CPU seconds (wait4, children included) and peak memory (the largest process).
The local vault of `unseen` is the server's core in the same process, so its figures hold both ends.
A `changed` step appends a line to 100 files (rand: overwrites 4 KiB in four), and undoes it.
Several runs: the median of each figure. Machines differ and are shared: the ratios are the result.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPORA = Path(os.environ.get("CORPORA", Path.home() / ".cache/unseen-corpora"))
PEERS = Path(os.environ.get("PEERS", Path.home() / ".cache/unseen-peers"))
STEPS = ["first", "unchanged", "changed", "restore"]
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


class Tool:
    """One program, on a repository and a home of its own."""

    def __init__(self, work):
        self.work, self.repo, self.home = work, work / "repo", work / "home"
        self.home.mkdir()
        self.env = {**os.environ, "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
            self.env.pop(name, None)
        self.count = 0

    @staticmethod
    def find(name):
        own = PEERS / "bin" / name
        return str(own) if own.exists() else shutil.which(name)


class Unseen(Tool):
    binary = str(ROOT / "target/release/backup")

    def __init__(self, work):
        super().__init__(work)
        self.env["BACKUP_PASSPHRASE"] = "a bench needs no secret, but a long one"

    def init(self):
        kit = str(self.home / "kit.txt")
        return [self.binary, "-q", "init", "--local", str(self.repo), "--kit", kit]

    def first(self, path):
        return [self.binary, "-q", "run", str(path)]

    def restore(self, target):
        return [self.binary, "-q", "restore", "latest", "--target", str(target)]


class Restic(Tool):
    binary = Tool.find("restic")

    def __init__(self, work):
        super().__init__(work)
        self.env["RESTIC_PASSWORD"] = "x"

    def command(self, *words):
        return [self.binary, "-q", "-r", str(self.repo), *map(str, words)]

    def init(self):
        return self.command("init")

    def first(self, path):
        return self.command("backup", path)

    def restore(self, target):
        return self.command("restore", "latest", "--target", target)


class Rustic(Tool):
    binary = Tool.find("rustic")

    def __init__(self, work):
        super().__init__(work)
        self.env |= {"RUSTIC_PASSWORD": "x", "RUSTIC_NO_PROGRESS": "true", "RUSTIC_LOG_LEVEL": "warn"}

    def command(self, *words):
        return [self.binary, "-r", str(self.repo), *map(str, words)]

    def init(self):
        return self.command("init")

    def first(self, path):
        return self.command("backup", path)

    def restore(self, target):
        return self.command("restore", "latest", target)


class Borg(Tool):
    binary = shutil.which(str(PEERS / "borgvenv/bin/borg")) or shutil.which("borg")

    def __init__(self, work):
        super().__init__(work)
        self.env |= {"BORG_PASSPHRASE": "x", "BORG_BASE_DIR": str(self.home)}

    def init(self):
        return [self.binary, "init", "-e", "repokey", str(self.repo)]

    def first(self, path):
        self.count += 1
        return [self.binary, "create", "-C", "lz4", f"{self.repo}::a{self.count}", str(path)]

    def restore(self, _target):
        return [self.binary, "extract", f"{self.repo}::a{self.count}"]


class Bupstash(Tool):
    binary = Tool.find("bupstash")

    def __init__(self, work):
        super().__init__(work)
        self.env |= {
            "BUPSTASH_REPOSITORY": str(self.repo),
            "BUPSTASH_KEY": str(self.home / "key"),
            "BUPSTASH_QUERY_CACHE": str(self.home / "queries"),
        }

    def init(self):
        subprocess.run([self.binary, "new-key", "-o", self.env["BUPSTASH_KEY"]], check=True)
        return [self.binary, "init"]

    def first(self, path):
        self.count += 1
        log = str(self.home / "log")
        words = ["put", "-q", "--no-progress", "--send-log", log, f"name=x{self.count}", str(path)]
        return [self.binary, *words]

    def restore(self, target):
        return [self.binary, "restore", "-q", "--into", str(target), f"name=x{self.count}"]


TOOLS = {"unseen": Unseen, "bupstash": Bupstash, "restic": Restic, "rustic": Rustic, "borg": Borg}


def measure(command, env, cwd, log):
    """One process, by the system's own accounting."""
    start = time.monotonic()
    with open(log, "ab") as out:
        child = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1 if "borg" in command[0] else 0):
        sys.exit(f"{' '.join(command)} ended with {code}; see {log}")
    return {
        "wall": time.monotonic() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "mb": usage.ru_maxrss / 1024,
    }


def stored(path):
    return sum(f.lstat().st_size for f in Path(path).rglob("*") if f.is_file()) / 1e6


def warm(path):
    """Everything is read once before the clock runs, so that no tool pays for the disk."""
    subprocess.run(f"find {path} -type f -print0 | xargs -0 -n 2000 cat >/dev/null", shell=True, check=True)


def some_files(path):
    """A hundred files, evenly spread. Found by another process: the memory of this one is the floor
    of what wait4 tells of its children."""
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


def one(name, corpus, files, work, log):
    tool, result = TOOLS[name](work), {}
    path = CORPORA / corpus
    measure(tool.init(), tool.env, None, log)
    for step in STEPS:
        cwd, back, command = None, None, None
        if step == "changed":
            if corpus == "vm":
                path = CORPORA / "vm2"
                warm(path)
            else:
                back = edit(corpus, files)
        if step == "restore":
            target = work / "out"
            target.mkdir()
            command, cwd = tool.restore(target), target
        else:
            command = tool.first(path)
        os.sync()
        before = stored(tool.repo)
        try:
            figures = measure(command, tool.env, cwd, log)
        finally:
            if back:
                back()
        figures["stored"] = stored(tool.repo)
        figures["added"] = figures["stored"] - before
        result[step] = figures
        print(f"{corpus:6} {name:9} {step:10}", {k: round(v, 2) for k, v in figures.items()}, flush=True)
    return result


def median(runs, step, figure):
    return statistics.median(run[step][figure] for run in runs)


def table(corpus, results):
    lines = [
        f"**{corpus}** (median of {len(next(iter(results.values())))}; CPU s, then wall s, then peak MB)",
        "",
        "| | first | unchanged | changed | added MB | restore | stored MB | CPU against unseen: first, unchanged, changed, restore |",
        "|---|---|---|---|---|---|---|---|",
    ]
    own = results.get("unseen")
    for name, runs in results.items():
        cell = lambda step: " / ".join(f"{median(runs, step, f):.{d}f}" for f, d in (("cpu", 2), ("wall", 2), ("mb", 0)))
        ratios = "-"
        if own and name != "unseen":
            ratios = ", ".join(f"{median(runs, s, 'cpu') / max(median(own, s, 'cpu'), 0.01):.1f}×" for s in STEPS)
        lines.append(
            f"| {name} | {cell('first')} | {cell('unchanged')} | {cell('changed')} | "
            f"{median(runs, 'changed', 'added'):.1f} | {cell('restore')} | {median(runs, 'first', 'stored'):.1f} | {ratios} |"
        )
    return "\n".join(lines)


def write(tables, command):
    path = ROOT / "docs/PERFORMANCE.md"
    text = path.read_text()
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    made = f"Made by `{command}` on {time.strftime('%Y-%m-%d')}.\n"
    path.write_text(before + BEGIN + "\n" + made + "\n" + "\n\n".join(tables) + "\n" + END + after)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", default="src")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--work", default=None, help="where repositories and restored files go")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/PERFORMANCE.md")
    args = parser.parse_args()
    names = [n for n in args.tools.split(",") if TOOLS[n].binary and os.path.exists(TOOLS[n].binary)]
    for missing in set(args.tools.split(",")) - set(names):
        print(f"{missing} is not installed: left out", file=sys.stderr)
    tables = []
    for corpus in args.corpora.split(","):
        files = some_files(CORPORA / corpus)
        warm(CORPORA / corpus)
        results = {name: [] for name in names}
        for _ in range(args.runs):
            for name in names:
                with tempfile.TemporaryDirectory(dir=args.work, ignore_cleanup_errors=True) as work:
                    log = Path(tempfile.gettempdir()) / f"unseen-bench-{os.getpid()}.log"
                    results[name].append(one(name, corpus, files, Path(work), log))
        tables.append(table(corpus, results))
        print("\n" + tables[-1] + "\n", flush=True)
        print(json.dumps({"corpus": corpus, "results": results}))
    if args.write:
        write(tables, " ".join(["tests/bench/compare.py", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
