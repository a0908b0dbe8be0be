"""The page that the benches write their tables into, and read them from: docs/PERFORMANCE.md."""

import os
import sys
import time

from peers import ROOT

PAGE = ROOT / "docs/PERFORMANCE.md"


def split(name):
    """The page before a block, the block between its markers, and the page behind it."""
    begin, end = f"<!-- bench:{name}:begin -->", f"<!-- bench:{name}:end -->"
    text = PAGE.read_text()
    if begin not in text or end not in text:
        sys.exit(f"{PAGE} has no markers for {name}: put {begin} and {end} where its table belongs")
    before, rest = text.split(begin, 1)
    inside, after = rest.split(end, 1)
    return before + begin, inside, end + after


def replace(name, inside):
    before, _, after = split(name)
    PAGE.write_text(f"{before}\n{inside}\n{after}")


def write(name, table, command):
    """Puts a table into its block, in place of the one that is there."""
    replace(name, f"`{command}`, {time.strftime('%Y-%m-%d')}\n\n{table}")


def tables(text):
    """Every table of a text: its header, and its rows as lists of cells."""
    found, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            lines.append([cell.strip() for cell in line.strip("|").split("|")])
        elif lines:
            found.append((lines[0], lines[2:]))
            lines = []
    return found


def machine():
    with open("/proc/cpuinfo") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "processor")
    return f"{os.cpu_count()} of {model}, Linux {os.uname().release.split('-')[0]}"
