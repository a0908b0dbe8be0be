#!/usr/bin/env python3
"""The memory of the daemon with many files: with its first backup, and afterwards.

    tests/bench/daemon.py [BACKUP] [--files 1000000] [--copy FOLDER] [--most 100] [--in /dev/shm]

Makes so many small files, 100 in a directory, or a copy of a folder, and lets the daemon save them
to a local vault. BACKUP is target/release/backup if it is not named, or $UNSEEN_CLIENT. Fails if
the peak of the daemon (VmHWM) is above so many MB (--most) after the first backup or, counted anew,
after ten files have changed and were saved.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import CLIENT, PASSPHRASE, forget_peak, home, peak


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("backup", nargs="?", default=CLIENT)
    words.add_argument("--files", type=int, default=1_000_000)
    words.add_argument("--copy", type=Path)
    words.add_argument("--most", type=int, default=100)
    words.add_argument("--in", dest="place", default="/dev/shm")
    words = words.parse_args()
    with tempfile.TemporaryDirectory(dir=words.place) as folder:
        place = Path(folder)
        docs = place / "docs"
        if words.copy:
            subprocess.run(["cp", "-a", words.copy, docs], check=True)
            (docs / "0" / "0").mkdir(parents=True)
        else:
            make(docs, words.files)
        environment = home(folder, BACKUP_PASSPHRASE=PASSPHRASE)
        subprocess.run([words.backup, "init", "--local", str(place / "vault"), "--kit", str(place / "kit.txt")],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        config = place / ".config/unseen/config.toml"
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
    first = ("first backup", millions(daemon.pid))
    forget_peak(daemon.pid)
    for number in range(10):
        with open(docs / "0" / "0" / f"f{number}", "a") as file:
            file.write("one line more\n")
    saved(daemon)
    return [first, ("ten changes later", millions(daemon.pid))]


def saved(daemon):
    for line in daemon.stderr:
        if "docs: snapshot" in line:
            return
    sys.exit("the daemon has ended")


def millions(pid):
    return peak(pid) * (1 << 20) / 1e6


if __name__ == "__main__":
    main()
