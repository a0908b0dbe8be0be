#!/usr/bin/env python3
"""Idle connections against a backup: how long a run takes alone, and beside them.

    tests/bench/idle.py [BACKUP [BACKUP-SERVER]] [--connections 10000] [--mib 256]

Of the connections a third sends nothing, a third the beginning of a TLS handshake, and a third
nonsense, all from this machine. Those that the server closes are opened again at once. Needs a
limit of open files above the number of connections (ulimit -n). The programs are those of
target/release if they are not named, or $UNSEEN_CLIENT and $UNSEEN_SERVER.
"""

import argparse
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from peers import CLIENT, PASSPHRASE, SERVER, home, peak

HALVES = [b"", bytes.fromhex("1603010200010001fc0303"), b"GET / HTTP/1.1\r\nHo"]


class Crowd(threading.Thread):
    """Keeps so many connections open."""

    def __init__(self, address, wanted):
        super().__init__(daemon=True)
        self.address, self.wanted = address, wanted
        self.opened, self.failed, self.full = 0, 0, threading.Event()
        self.stopped = False

    def run(self):
        waiting = selectors.DefaultSelector()
        held = 0
        while not self.stopped:
            for _ in range(min(200, self.wanted - held)):
                try:
                    one = socket.create_connection(self.address, timeout=5)
                    one.sendall(HALVES[self.opened % len(HALVES)])
                except OSError:
                    self.failed += 1
                    continue
                one.setblocking(False)
                waiting.register(one, selectors.EVENT_READ)
                self.opened += 1
                held += 1
            if self.opened >= self.wanted:
                self.full.set()
            for key, _ in waiting.select(timeout=0.05):
                # Readable: closed, for the server has nothing to say.
                waiting.unregister(key.fileobj)
                key.fileobj.close()
                held -= 1


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("backup", nargs="?", default=CLIENT)
    words.add_argument("server", nargs="?", default=SERVER)
    words.add_argument("--connections", type=int, default=10000)
    words.add_argument("--mib", type=int, default=256)
    words = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        environment = home(folder, BACKUP_PASSPHRASE=PASSPHRASE)
        data = str(folder / "data")
        server = subprocess.Popen(
            [words.server, "serve", "--data", data, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        try:
            host, port = server.stdout.readline().strip().rsplit("//")[1].rsplit(":")
            measure(words, folder, environment, (host, int(port)), server.pid)
        finally:
            server.terminate()
            server.wait()


def measure(words, folder, environment, address, pid):
    def run(*arguments):
        begun = time.monotonic()
        subprocess.run([words.backup, *arguments], env=environment, check=True,
                       stdout=subprocess.DEVNULL)
        return time.monotonic() - begun

    invite = subprocess.run([words.server, "invite", "--data", str(folder / "data")],
                            capture_output=True, text=True, check=True).stdout.split("'")[1]
    run("init", invite, "--kit", str(folder / "kit.txt"))
    times = []
    for name in ("alone", "beside"):
        source = folder / name
        source.mkdir()
        for number in range(words.mib):
            (source / str(number)).write_bytes(os.urandom(1 << 20))
        if name == "beside":
            crowd = Crowd(address, words.connections)
            crowd.start()
            if not crowd.full.wait(120):
                sys.exit("the connections could not be opened: see ulimit -n")
        times.append(run("run", str(source)))
        print(f"{name:7} {words.mib} MiB in {times[-1]:.1f} s")
    crowd.stopped = True
    print(f"{crowd.opened} connections opened for {words.connections} at a time, "
          f"{crowd.failed} not accepted; server peak {peak(pid):.0f} MiB")


if __name__ == "__main__":
    main()
