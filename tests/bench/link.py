#!/usr/bin/env python3
"""How much of a long, narrow link an upload and a restore fill.

    tests/bench/link.py [BACKUP [BACKUP-SERVER]] [--mbit 100] [--delay-ms 50] [--mib 400] [--from FOLDER]
                        [--cc cubic|bbr] [--write [BLOCK]]

The server runs in a network namespace of its own. Between the two lies a link that this script is:
two TUN devices, whose packets wait for their turn (--mbit, either way) and then for the delay (each
way: the round trip is twice that). Its buffer is one round trip, what comes on top is dropped. So it
is the kernel's own TCP that is measured, as with netem, which not every kernel has. Needs root.
--cc sets its congestion control at both ends, by a route; without it it is what the machine is set to.

Sent is noise, so that nothing is made smaller. "Fills" is what crossed the link, headers included,
against what could have crossed it from the start of the process to its end: unlocking, scanning and
the last commit count as time lost. With --from it is that folder that is sent, and "fills" is of the
packs that the server has then: what crosses the link twice counts as time lost as well.

--write puts the table into a block of docs/PERFORMANCE.md: link, or the one that is named.
"""

import argparse
import contextlib
import fcntl
import heapq
import ipaddress
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from page import write
from peers import CLIENT, PASSPHRASE, SERVER, home, measure

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 1500
# Of the addresses that RFC 2544 sets aside for benches.
HERE, THERE = "198.18.0.1", "198.18.0.2"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


class Way:
    """One direction: a queue before the wire, and what is on the wire."""

    def __init__(self, into, bits, delay):
        self.into, self.bits, self.delay = into, bits, delay
        self.room = 2 * delay
        self.free_at, self.wire, self.bytes, self.dropped = 0.0, [], 0, 0

    def take(self, packet, now):
        begins = max(now, self.free_at)
        if begins - now > self.room:
            self.dropped += 1
            return
        self.free_at = begins + len(packet) * 8 / self.bits
        self.bytes += len(packet)
        heapq.heappush(self.wire, (self.free_at + self.delay, self.bytes, packet))

    def deliver(self, now):
        while self.wire and self.wire[0][0] <= now:
            with contextlib.suppress(BlockingIOError):
                os.write(self.into, heapq.heappop(self.wire)[2])


class Link(threading.Thread):
    """Carries packets until it is stopped."""

    def __init__(self, near, far, words):
        super().__init__(daemon=True)
        bits, delay = words.mbit * 1e6, words.delay_ms / 1e3
        self.ways = {near: Way(far, bits, delay), far: Way(near, bits, delay)}
        self.up, self.down = self.ways[near], self.ways[far]
        self.stopped, self.trace = False, words.trace

    def run(self):
        poll, second = select.poll(), time.monotonic()
        for fd in self.ways:
            poll.register(fd, select.POLLIN)
        while not self.stopped:
            nearest = min((way.wire[0][0] for way in self.ways.values() if way.wire), default=None)
            wait = 100 if nearest is None else max(0, int((nearest - time.monotonic()) * 1e3))
            for fd, _ in poll.poll(wait):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        self.ways[fd].take(os.read(fd, MTU), time.monotonic())
            for way in self.ways.values():
                way.deliver(time.monotonic())
            if self.trace and time.monotonic() >= second:
                second += 1
                told = [f"{way.bytes / 1e6:.1f} MB, {way.dropped} dropped" for way in (self.up, self.down)]
                print(f"up {told[0]}; down {told[1]}", file=sys.stderr)


@contextlib.contextmanager
def link(words):
    space = f"unseen{os.getpid()}"
    near, far = f"near{os.getpid()}", f"far{os.getpid()}"
    ip("netns", "add", space)
    fds = [tun(near), tun(far)]
    try:
        ip("link", "set", far, "netns", space)
        ip("addr", "add", f"{HERE}/30", "dev", near)
        ip("link", "set", near, "mtu", str(MTU), "up")
        inside = ["-n", space]
        ip(*inside, "addr", "add", f"{THERE}/30", "dev", far)
        ip(*inside, "link", "set", far, "mtu", str(MTU), "up")
        ip(*inside, "link", "set", "lo", "up")
        if words.cc:
            net = str(ipaddress.ip_interface(f"{HERE}/30").network)
            for at, name, address in (([], near, HERE), (inside, far, THERE)):
                route = ["dev", name, "proto", "kernel", "scope", "link", "src", address]
                ip(*at, "route", "change", net, *route, "congctl", "lock", words.cc)
        carrier = Link(*fds, words)
        carrier.start()
        yield carrier, ["ip", "netns", "exec", space]
        carrier.stopped = True
        carrier.join()
    finally:
        for fd in fds:
            os.close(fd)
        ip("netns", "del", space)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("backup", nargs="?", default=CLIENT)
    words.add_argument("server", nargs="?", default=SERVER)
    words.add_argument("--mbit", type=float, default=100)
    words.add_argument("--delay-ms", type=float, default=50)
    words.add_argument("--mib", type=int, default=400)
    words.add_argument("--from", dest="source", type=Path, help="send this folder instead of noise")
    words.add_argument("--cc", choices=["cubic", "bbr"], help="TCP's congestion control at both ends")
    words.add_argument("--trace", action="store_true", help="tell every second what has crossed")
    words.add_argument("--write", nargs="?", const="link", metavar="BLOCK", help="write the table into docs/PERFORMANCE.md")
    words = words.parse_args()
    if os.geteuid() != 0:
        sys.exit("making a network namespace needs root")
    with tempfile.TemporaryDirectory() as folder, link(words) as (carrier, inside):
        made = bench(Path(folder), carrier, inside, words)
    print(made)
    if words.write:
        write(words.write, made, " ".join(["tests/bench/link.py", *sys.argv[1:]]))


def noise(folder, words):
    source = folder / "source"
    source.mkdir()
    for number in range(words.mib // 8):
        (source / str(number)).write_bytes(os.urandom(8 << 20))
    return source, f"{words.mib} MiB of noise"


def control():
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def bench(folder, carrier, inside, words):
    environment = home(folder, BACKUP_PASSPHRASE=PASSPHRASE)
    data = ["--data", str(folder / "data")]
    stored = lambda: sum(pack.stat().st_size for pack in folder.glob("data/accounts/*/packs/*/*"))
    serve = [*inside, words.server, "serve", *data, "--listen", f"{THERE}:0"]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        server.stdout.readline()
        invite = subprocess.run([words.server, "invite", *data], capture_output=True, text=True, check=True)
        source, what = (words.source.resolve(), words.source.name) if words.source else noise(folder, words)
        log = folder / "log"
        step = lambda *rest: measure([words.backup, "-q", *rest], environment, None, log)
        step("init", invite.stdout.split("'")[1], "--kit", str(folder / "kit.txt"))
        lines = ["| | wall s | stored MB | over the link MB | fills | CPU s of the client |", "|---|---|---|---|---|---|"]
        restored = ["restore", "latest", "--target", str(folder / "restored")]
        for name, way, rest in [
            (f"first backup of {what}", carrier.up, ["run", str(source)]),
            ("its restore", carrier.down, restored),
        ]:
            before = way.bytes
            took = step(*rest)
            crossed = way.bytes - before
            counts = stored() if words.source else crossed
            fills = counts * 8 / (words.mbit * 1e6) / took["wall"]
            cells = [f"{took['wall']:.1f}", f"{stored() / 1e6:.0f}", f"{crossed / 1e6:.0f}", f"{100 * fills:.0f} %"]
            lines.append(f"| {name} | {' | '.join(cells)} | {took['cpu']:.1f} |")
        subprocess.run(["diff", "-r", "--no-dereference", str(source), str(folder / "restored") + str(source)], check=True)
        lines.append("")
        lines.append(
            f"{words.mbit:.0f} Mbit/s and {words.delay_ms:.0f} ms each way, {words.cc or control()}; packets that the link's "
            f"buffer had no room for: {carrier.up.dropped} up, {carrier.down.dropped} down."
        )
        return "\n".join(lines)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
