"""The programs that are measured: what each is called with, on a repository and a home of its own.

Ours are target/release/backup and backup-server, or $UNSEEN_CLIENT and $UNSEEN_SERVER.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("PEERS", Path.home() / ".cache/unseen-peers"))
TICKS = os.sysconf("SC_CLK_TCK")
# The programs of this project that are measured.
CLIENT = os.environ.get("UNSEEN_CLIENT", str(ROOT / "target/release/backup"))
SERVER = os.environ.get("UNSEEN_SERVER", str(ROOT / "target/release/backup-server"))
PASSPHRASE = "a bench needs no secret, but a long one"


# A process begins with the memory of the one that it was forked from, and its peak is never told as
# less. So a small process is in between, which tells what it waited for.
LAUNCHER = """
import os, sys, time
start, pid = time.monotonic(), os.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
figures = time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
os.write(int(sys.argv[1]), repr((os.waitstatus_to_exitcode(status), figures)).encode())
"""


def measure(command, env, cwd, log):
    """One process, by the system's own accounting: seconds elapsed and of processor, peak MB."""
    told, tell = os.pipe()
    launcher = [sys.executable, "-S", "-E", "-c", LAUNCHER, str(tell)]
    with open(log, "ab") as out:
        subprocess.run([*launcher, *command], env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=[tell])
    os.close(tell)
    with open(told) as figures:
        code, figures = ast.literal_eval(figures.read())
    if code not in (0, 1 if "borg" in command[0] else 0):
        sys.exit(f"{' '.join(command)} ended with {code}; see {log}")
    return dict(zip(("wall", "cpu", "mb"), figures))


def home(folder, **more):
    """The environment of a user whose files, settings and caches are all in this folder."""
    env = {**os.environ, "HOME": str(folder), **more}
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        env.pop(f"XDG_{name}_HOME", None)
    return env


def peak(pid):
    """The most memory that a running process has had, in units of 1024 KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def forget_peak(pid):
    """Its peak is counted anew from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def recovery_code(kit):
    """As the recovery kit has it."""
    return re.search(r"^\s*((?:[0-9A-Z]+-){5,}[0-9A-Z]+)\s*$", kit.read_text(), re.MULTILINE)[1]


class Tool:
    """One program, on a repository and a home of its own."""

    def __init__(self, work):
        self.work, self.repo, self.home = work, work / "repo", work / "home"
        self.home.mkdir()
        self.env = home(self.home)
        self.count = 0
        self.server = None

    def serve(self, command):
        """Starts the other end; its CPU time is counted with every step."""
        with open(self.work / "server.log", "wb") as log:
            self.server = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def said(self, words):
        """Waits until the server's log holds these words."""
        for _ in range(200):
            lines = (self.work / "server.log").read_text().splitlines()
            if found := [line for line in lines if words in line]:
                return found[0]
            time.sleep(0.05)
        sys.exit(f"the server never said '{words}'; see {self.work / 'server.log'}")

    def server_figures(self):
        """CPU seconds and peak MB of the other end so far."""
        if self.server is None:
            return 0.0, 0.0
        stat = Path(f"/proc/{self.server.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / TICKS, peak(self.server.pid)

    def close(self):
        if self.server is not None:
            self.server.terminate()
            self.server.wait()

    @classmethod
    def version(cls):
        """As the program tells it."""
        word = "version" if "restic" in cls.binary else "--version"
        said = subprocess.run([cls.binary, word], check=True, capture_output=True, text=True)
        return " ".join(said.stdout.split()[:2])

    @staticmethod
    def find(name):
        own = PEERS / "bin" / name
        return str(own) if own.exists() else shutil.which(name)


class Unseen(Tool):
    binary = CLIENT

    def __init__(self, work):
        super().__init__(work)
        self.env["BACKUP_PASSPHRASE"] = PASSPHRASE

    def init(self):
        kit = str(self.home / "kit.txt")
        return [self.binary, "-q", "init", "--local", str(self.repo), "--kit", kit]

    def first(self, path):
        return [self.binary, "-q", "run", "--set", "bench", str(path)]

    def restore(self, target):
        return [self.binary, "-q", "restore", "latest", "--target", str(target)]

    def check(self, *words):
        return [self.binary, "-q", "check", *words]


class UnseenCode(Unseen):
    """The same, restored by the recovery code: as with a key in a file, no Argon2id is paid for."""

    def restore(self, target):
        del self.env["BACKUP_PASSPHRASE"]
        self.env["BACKUP_RECOVERY_CODE"] = recovery_code(self.home / "kit.txt")
        return super().restore(target)


class UnseenHttps(Unseen):
    """The same with the server in a process of its own, over TLS on loopback."""

    def init(self):
        data = ["--data", str(self.repo)]
        self.serve([SERVER, "serve", *data, "--listen", "127.0.0.1:0"])
        self.said("listening on")
        made = subprocess.run([SERVER, "invite", *data], env=self.env, check=True, capture_output=True, text=True)
        link = made.stdout.split("'")[1]
        return [self.binary, "-q", "init", link, "--kit", str(self.home / "kit.txt")]


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


class ResticHttp(Restic):
    """restic over its own server, in plain HTTP on loopback."""

    server_binary = Tool.find("restic-rest-server") or Tool.find("rest-server")

    def init(self):
        self.serve([self.server_binary, "--no-auth", "--listen", "127.0.0.1:0", "--path", str(self.repo)])
        line = self.said("start server on")
        self.url = f"rest:http://{line.rsplit(' ', 1)[1]}/"
        return self.command("init")

    def command(self, *words):
        return [self.binary, "-q", "-r", self.url, *map(str, words)]


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


TOOLS = {
    "unseen": Unseen,
    "unseen-code": UnseenCode,
    "bupstash": Bupstash,
    "restic": Restic,
    "rustic": Rustic,
    "borg": Borg,
    "unseen-https": UnseenHttps,
    "restic-http": ResticHttp,
}
