"""Where a bench has its corpora, vaults and restored files, and the options that say so."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import corpora as makers
from corpora import CORPORA

# What was made or changed so lately is read twice: its time does not tell yet whether it changes
# again. Nobody's files are all that young.
SETTLE = 4


def options(parser, corpora):
    parser.add_argument("--corpora", default=corpora, help="by comma (default: %(default)s)")
    parser.add_argument("--work", default=None, help="where repositories go")
    parser.add_argument("--scratch", default=None, help="where restored files go, if elsewhere")
    parser.add_argument("--memory", default=None, help="a tmpfs for everything, a copy of the corpus too")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/PERFORMANCE.md")


def command(script, args):
    """What this bench was called with, for the page: folders of this machine are not its business."""
    words = [word for word in sys.argv[1:] if word not in (args.work, args.scratch, "--work", "--scratch")]
    return " ".join([f"tests/bench/{script}", *("FOLDER" if word == args.memory else word for word in words)])


def folder(at):
    return tempfile.TemporaryDirectory(dir=at, ignore_cleanup_errors=True)


def rooms(args):
    """For a vault, and for restored files."""
    work = args.work or args.memory
    return folder(work), folder(args.scratch or args.memory or args.work)


def log():
    return Path(tempfile.gettempdir()) / f"unseen-bench-{os.getpid()}.log"


def made(names):
    """Makes what is not there."""
    for name in names:
        if name not in makers.MAKERS:
            sys.exit(f"no corpus {name}: there are {', '.join(makers.MAKERS)}")
        makers.make(name, CORPORA)


def copied(names, place):
    """Corpora in memory: a million small files are not kept in the page cache."""
    for name in names:
        subprocess.run(["cp", "-a", CORPORA / name, place], check=True)
    return Path(place)


def warm(path):
    """Everything is read once before the clock runs, so that no tool pays for the disk."""
    subprocess.run(f"find {path} -type f -print0 | xargs -0 -n 2000 cat >/dev/null", shell=True, check=True)
