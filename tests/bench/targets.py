#!/usr/bin/env python3
"""Holds what the tables of docs/PERFORMANCE.md say against the design's targets.

    tests/bench/targets.py [--write | --check]

Reads nothing but that page: run it after a bench was written there. (compare.py, ceilings.py and
growth.py do it by themselves with --write.) With --write the result goes into the page's section
Targets; --check ends with 1 if what is there is not what the tables say. It also ends with 1 if a
target is missed and reasons.py does not say why.
"""

import argparse
import re
import sys

import page
from reasons import REASONS

# Of each corpus: what the design asks for, and what the best peer took when it was written. The
# second against the first is how far ahead it wants to be, on whatever machine.
CPU, MB = "s", "MB"
LINES = {
    "first backup": ("first", CPU, {
        "src": (8.5, 9.3), "rand": (14, 18.7), "vm": (21, 21.5), "many": (30, 39.9), "mixed": (24, 25.7)}),
    "unchanged": ("unchanged", CPU, {
        "src": (0.3, 0.66), "rand": (0.05, 0.02), "vm": (0.05, 0.02), "many": (2.5, 6.2), "mixed": (0.3, 0.7)}),
    "100 files touched": ("changed", CPU, {
        "src": (0.5, 1.2), "rand": (2.5, 3.0), "vm": (12, 17.7), "many": (2.8, 6.4), "mixed": (0.6, 2.2)}),
    "what that adds": ("added MB", MB, {"src": (2, 1.3), "vm": (200, 255), "many": (2, 1.1)}),
    "restore": ("restore", CPU, {
        "src": (6, 7.2), "rand": (11, 17.2), "vm": (9, 12.2), "many": (30, 49.8), "mixed": (14, 21)}),
    "stored": ("stored MB", MB, {
        "src": (210, 213), "rand": (4340, 4295), "vm": (640, 626), "many": (700, 841), "mixed": (975, 997)}),
    "stored with src2": ("stored MB", MB, {"src": (440, 454)}),
}


def numbers(cell):
    return [float(word.replace(",", "")) for word in re.findall(r"\d[\d,]*(?:\.\d+)?", cell)]


def measured(corpus, line, column):
    """Of each tool in a corpus' table: its processor seconds, or its stored bytes."""
    found = {}
    header, rows = page.tables(page.split(corpus)[1])[0]
    at = next(at for at, name in enumerate(header) if name.startswith(column))
    for row in rows:
        figures = numbers(row[at])
        found[re.split(r"[,;]", row[0])[0]] = figures[1 if line == "stored with src2" else 0]
    return found


def verdict(ours, target, ratio, aimed):
    """Whether a figure is reached, how far ahead that is, and whether it is ahead at all."""
    words = ["missed"] if ours > target else []
    if ratio is not None and ratio < max(aimed, 1):
        words.append("behind" if ratio < 1 else "less ahead than aimed at")
    return ", ".join(words) or "met"


def peers_part():
    """The rows of the design's table, as (name, cells, verdict)."""
    for line, (column, unit, corpora) in LINES.items():
        for corpus, (target, peer) in corpora.items():
            tools = measured(corpus, line, column)
            ours = tools.pop("unseen")
            others = {name: figure for name, figure in tools.items() if not name.startswith("unseen") and not name.endswith("-http")}
            best = min(others, key=others.get, default=None)
            ratio = max(others[best], 0.01) / max(ours, 0.01) if best else None
            aimed = peer / target
            told = verdict(round(ours, 2), target, ratio, aimed)
            cells = [f"{target:g} {unit}", f"{ours:g}", f"{best} {others[best]:g}" if best else "none measured"]
            cells += [f"{aimed:.2f}", f"{ratio:.2f}" if best else ""]
            yield f"{line}, {corpus}", cells, told


def cells_of(label, column=None, block=None):
    """Of the first row that begins so, in a block or on the whole page: a cell by its column's name, or all."""
    text = page.split(block)[1] if block else page.PAGE.read_text()
    for header, rows in page.tables(text):
        for row in rows:
            if row[0].startswith(label):
                return row[1:] if column is None else [row[header.index(column)]]
    return []


def last(cells):
    """The last figure of each cell: of CPU / wall / peak it is the peak."""
    return [numbers(cell)[-1] for cell in cells]


def ceilings():
    """The peaks of clients and of servers, and the corpora that they are of."""
    clients, servers, corpora = [], [], []
    for header, rows in page.tables(page.split("ceilings")[1]):
        for row in rows[1:]:
            corpora.append(row[0])
            for column, peak in zip(header[1:], row[1:], strict=True):
                (servers if column == "its server" else clients).append(float(peak))
    return clients, servers, corpora


def growth(*rows):
    """Peaks at the most files that were measured, and how many those are."""
    header, _ = page.tables(page.split("growth")[1])[0]
    most = header[-1]
    return most, [last(cells_of(row, most, "growth"))[0] for row in rows]


def over_https():
    """Processor and elapsed seconds of first backup and restore over HTTPS, as times the local ones."""
    for header, rows in page.tables(page.PAGE.read_text()):
        named = {re.split(r"[,;]", row[0])[0]: row for row in rows}
        if "unseen" in named and "unseen-https" in named and "first" in header:
            for figure in (0, 1):
                for step in ("first", "restore"):
                    near, far = (numbers(named[name][header.index(step)])[figure] for name in ("unseen", "unseen-https"))
                    yield far / near
            return


def rest():
    """What holds whatever the data: name, limit, figures that must not be above it, how they are told."""
    most, runs = growth("first run", "unchanged run", "one file changed", "restore of one file", "check of")
    clients, servers, corpora = ceilings()
    of = f"of {', '.join(corpora)}"
    yield "client's peak, MB", 200, clients + runs if clients else [], f"{max(clients + runs):.0f}, {of} and {most} files"
    yield "peak of a backup of a million files, MB", 100, last(cells_of("unseen", "first", "many")), None
    yield "peak of its restore, MB", 150, last(cells_of("unseen", "restore", "many")), None
    yield f"peak with {most} chunks indexed, MB", 100, runs[:3], f"{runs[0]:.0f}, {runs[1]:.0f} and {runs[2]:.0f}: first, unchanged, changed"
    yield "server's peak, MB", 150, servers, f"{max(servers, default=0):.0f}, {of}"
    https = list(over_https())
    yield "over HTTPS, times local: processor", 1.15, https[:2], " and ".join(f"{times:.2f}" for times in https[:2]) + ": first backup, restore"
    yield "over HTTPS, times local: elapsed", 1.15, https[2:], " and ".join(f"{times:.2f}" for times in https[2:]) + ": first backup, restore"
    (few,), (packs,) = cells_of("ten files changed", "processor"), cells_of("ten files changed", "packs")
    yield "ten files of a million changed, s", 0.5, numbers(few), f"{few}; packs: {packs}"
    yield "GC of a million packs, s", 1, numbers("".join(cells_of("deciding over 1 M packs", "elapsed"))), None
    peaks = last(cells_of("snapshots", block="growth") + cells_of("the server's GC", block="growth"))
    yield "peak of what needs no secret, MB (Argon2id has 134)", 134, peaks, None
    yield "first backup of src, s elapsed: tar and zstd", 5.6, [numbers(*cells_of("unseen", "first", "src"))[1]], None


def made():
    """The section, and what is missed without a reason."""
    lines = ["| | target | measured | best peer in that run | peer / ours: aimed at | measured | |", "|---" * 7 + "|"]
    missed = []
    for name, cells, told in peers_part():
        lines.append(f"| {name} | {' | '.join(cells)} | {told} |")
        missed += [name] if told != "met" else []
    lines += ["", "| whatever the data | at most | measured | |", "|---|---|---|---|"]
    for name, limit, figures, shown in rest():
        told = "not measured" if not figures else "met" if max(figures) <= limit else "missed"
        shown = (shown or f"{max(figures):g}") if figures else ""
        lines.append(f"| {name} | {limit:g} | {shown} | {told} |")
        missed += [name] if told == "missed" else []
    lines += ["", "What is not met, and why:", ""]
    unexplained, groups = [], {}
    for name in missed:
        reason = REASONS.get(name)
        if reason is None:
            unexplained.append(name)
            reason = "not explained yet."
        groups.setdefault(reason, []).append(name)
    lines += [f"- **{'; '.join(names)}**: {reason}" for reason, names in groups.items()]
    return "\n".join(lines), unexplained


def rewrite():
    """Writes the section anew, from tables that may have changed."""
    text, unexplained = made()
    page.replace("targets", text)
    for name in unexplained:
        print(f"missed, and tests/bench/reasons.py does not say why: {name}", file=sys.stderr)
    return not unexplained


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write it into docs/PERFORMANCE.md")
    what.add_argument("--check", action="store_true", help="only compare with what is written there")
    args = parser.parse_args()
    if args.write:
        sys.exit(0 if rewrite() else 1)
    text, unexplained = made()
    if not args.check:
        print(text)
    elif page.split("targets")[1] != f"\n{text}\n":
        sys.exit("the section Targets is not what the tables say: tests/bench/targets.py --write")
    if unexplained:
        sys.exit("missed, and tests/bench/reasons.py does not say why: " + "; ".join(unexplained))


if __name__ == "__main__":
    main()
