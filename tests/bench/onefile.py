#!/usr/bin/env python3
"""What one file out of a vault costs on a machine that has never seen it, in bytes from the server.

    tests/bench/onefile.py [BACKUP BACKUP-SERVER] [--gib 4] [--small 200000] [--runs 20] [--work FOLDER] [--write]

Two vaults over HTTPS on loopback, each saved in so many runs: noise in files of 1 MiB, and small files of some twenty
bytes. A proxy between client and server counts what it passes on. Of
files it is the mean of five, each on a machine of its own. With --write the table goes into
docs/PERFORMANCE.md.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from page import write
from peers import CLIENT, PASSPHRASE, SERVER, home, recovery_code

HEADER = 1245
# Where a file was cut is left to chance, and whether a piece of it lies among others.
MEAN_OF = 5


class Counter:
    """Passes bytes on to a server and counts those that come back."""

    def __init__(self):
        self.bytes, self.server = 0, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(self.server)
            for pair in ((near, far, False), (far, near, True)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, target, down):
        try:
            while part := source.recv(1 << 18):
                self.bytes += len(part) if down else 0
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            target.close()


def machine(folder, **more):
    folder.mkdir(exist_ok=True)
    return home(folder, BACKUP_PASSPHRASE=PASSPHRASE, **more)


def noise(folder, run, words):
    for number in range(int(words.gib * 1024) // words.runs):
        (folder / str(number)).write_bytes(os.urandom(1 << 20))


def small(folder, run, words):
    for number in range(words.small // words.runs):
        (folder / str(number)).write_text(f"file {number} of {run}\n")


def tables(data):
    """How many packs there are, and the bytes of their tables of contents, headers included."""
    lengths = []
    for pack in data.glob("accounts/*/packs/*/*"):
        with open(pack, "rb") as file:
            file.seek(-16, os.SEEK_END)
            lengths.append(HEADER + 16 + int.from_bytes(file.read(4), "little"))
    return len(lengths), sum(lengths)


def bench(folder, words, fill):
    data, counter = folder / "data", Counter()
    own = machine(folder / "home")
    serve = [words.server, "serve", "--data", data, "--listen", "127.0.0.1:0", "--public-address", counter.address]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=own)
    try:
        counter.server = ("127.0.0.1", int(re.search(r"127\.0\.0\.1:(\d+)", server.stdout.readline())[1]))
        invite = subprocess.run([words.server, "invite", "--data", data], capture_output=True, text=True, check=True)
        kit, source = folder / "kit.txt", folder / "source"

        def act(environment, *command):
            before = counter.bytes
            subprocess.run([words.backup, "-q", *map(str, command)], env=environment, check=True, stdout=subprocess.DEVNULL)
            return counter.bytes - before

        act(own, "init", invite.stdout.split("'")[1], "--kit", kit)
        for run in range(words.runs):
            (source / f"{run:03}").mkdir(parents=True)
            fill(source / f"{run:03}", run, words)
            act(own, "run", source)
        address = re.search(r"^\s*(unseen://\S+)", kit.read_text(), re.MULTILINE)[1]
        code = recovery_code(kit)
        asked = {}
        for name, run in (("old", 1), ("new", words.runs - 1)):
            asked[name] = 0
            for number in range(MEAN_OF):
                path, target = source / f"{run:03}/{number}", folder / f"{name}{number}"
                new = machine(target, BACKUP_RECOVERY_CODE=code)
                act(new, "connect", address)
                asked[name] += act(new, "restore", f"latest:{path}", "--target", target) / MEAN_OF
                if (target / path.name).read_bytes() != path.read_bytes():
                    sys.exit("what was restored differs")
        new = machine(folder / "ls", BACKUP_RECOVERY_CODE=code)
        act(new, "connect", address)
        asked["ls"] = act(new, "ls", f"latest:{source / '001'}")
        return (*tables(data), asked)
    finally:
        server.terminate()
        server.wait()


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("backup", nargs="?", default=CLIENT)
    words.add_argument("server", nargs="?", default=SERVER)
    words.add_argument("--gib", type=float, default=4)
    words.add_argument("--small", type=int, default=200_000)
    words.add_argument("--runs", type=int, default=20)
    words.add_argument("--work", default=None, help="where vaults and files go")
    words.add_argument("--write", action="store_true")
    words = words.parse_args()
    lines = ["| MB from the server | packs | all tables of contents | a file of the second run | of the last run | `ls` of a folder |"]
    lines.append("|---|---|---|---|---|---|")
    for what, fill in ((f"{words.gib:g} GiB in files of 1 MiB", noise), (f"{words.small:,} small files", small)):
        with tempfile.TemporaryDirectory(dir=words.work) as folder:
            packs, bytes_of, asked = bench(Path(folder), words, fill)
        cells = [f"{number / 1e6:.2f}" for number in (bytes_of, asked["old"], asked["new"], asked["ls"])]
        lines.append(f"| {what}, {words.runs} runs | {packs} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    table = "\n".join(lines)
    print(table)
    if words.write:
        write("onefile", table, f"tests/bench/onefile.py --gib {words.gib:g} --small {words.small} --runs {words.runs}")


if __name__ == "__main__":
    main()
