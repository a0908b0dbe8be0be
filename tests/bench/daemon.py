#!/usr/bin/env python3
"""The memory of the daemon with many files: with its first backup, and afterwards.

    tests/bench/daemon.py [BACKUP] [--files 1000000] [--copy FOLDER] [--most 100] [--in /dev/shm]

Makes so many small files, 100 in a directory, or a copy of a folder, and lets the daemon save them to a local vault.
Fails if the peak of the daemon (VmHWM) is above so many MB after the first backup or, counted
anew, after ten files have changed and were saved.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("backup", nargs="?", default="target/release/backup")
    words.add_argument("--files", type=int, default=1_000_000)
    words.add_argument("--copy", type=Path)
    words.add_argument("--most", type=int, default=100)
    words.add_argument("--in", dest="place", default="/dev/shm")
    words = words.parse_args()
    with tempfile.TemporaryDirectory(dir=words.place) as folder:
        home = Path(folder)
        docs = home / "docs"
        if words.copy:
            subprocess.run(["cp", "-a", words.copy, docs], check=True)
            (docs / "0" / "0").mkdir(parents=True)
        else:
            make(docs, words.files)
        environment = {**os.environ, "HOME": folder,
                       "BACKUP_PASSPHRASE": "daemon bench, nothing to hide here"}
        for name in ("CONFIG", "DATA", "STATE", "CACHE"):
            environment[f"XDG_{name}_HOME"] = str(home / name.lower())
        subprocess.run([words.backup, "init", "--local", str(home / "vault"), "--kit", str(home / "kit.txt")],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        config = home / "config/unseen/config.toml"
        config.write_text(config.read_text() + f"""
[daemon]
quiet = "3s"
min_interval = "1s"
alerts.desktop = false
[[set]]
name = "docs"
paths = ["{docs}"]
""")
        daemon = subprocess.Popen([words.backup, "daemon", "run"], env=environment, text=True,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            peaks = measure(daemon, docs)
        finally:
            daemon.terminate()
            daemon.wait()
    for when, peak in peaks:
        print(f"{words.copy or words.files} files, {when}: {peak:.0f} MB at most")
    if any(peak > words.most for _, peak in peaks):
        sys.exit(f"more than {words.most} MB")


def make(docs, files):
    for number in range(files):
        directory = docs / str(number // 10_000) / str(number // 100 % 100)
        if number % 100 == 0:
            directory.mkdir(parents=True)
        (directory / f"f{number}").write_text(f"file {number}\n")


def measure(daemon, docs):
    saved(daemon)
    first = ("first backup", peak(daemon.pid))
    # The peak is counted anew from here on.
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")
    for number in range(10):
        with open(docs / "0" / "0" / f"f{number}", "a") as file:
            file.write("one line more\n")
    saved(daemon)
    return [first, ("ten changes later", peak(daemon.pid))]


def saved(daemon):
    for line in daemon.stderr:
        if "docs: snapshot" in line:
            return
    sys.exit("the daemon has ended")


def peak(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
