#!/usr/bin/env python3
"""Reads the vectors with the standard library alone and checks what needs no cipher and no BLAKE3:
layouts, canonical CBOR, LEB128 tables, lengths and sums, as docs/FORMAT.md states them.

    python3 docs/vectors/check.py
"""

import json
from pathlib import Path

HERE = Path(__file__).parent


class Bad(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Bad(what)


def load(name):
    return json.loads((HERE / f"{name}.json").read_text())


def head(data, at):
    """Major type, argument, next offset of one CBOR head; shortest forms, definite lengths."""
    need(at < len(data), "cut short")
    major, info = data[at] >> 5, data[at] & 31
    if info < 24:
        return major, info, at + 1
    need(info <= 27, "indefinite or reserved length")
    size = 1 << (info - 24)
    need(at + 1 + size <= len(data), "cut short")
    value = int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if major != 7:
        need(value >= (24 if size == 1 else 1 << (4 * size)), "not the shortest form")
    return major, value, at + 1 + size


def item(data, at):
    first = data[at] if at < len(data) else None
    major, value, at = head(data, at)
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        need(at + value <= len(data), "cut short")
        raw = data[at : at + value]
        return (raw if major == 2 else raw.decode()), at + value
    if major == 4:
        out = []
        for _ in range(value):
            one, at = item(data, at)
            out.append(one)
        return out, at
    need(first in (0xF4, 0xF5, 0xF6), "a type that is not used")
    return {0xF4: False, 0xF5: True, 0xF6: None}[first], at


def cbor(data):
    value, at = item(data, 0)
    need(at == len(data), "bytes behind it")
    return value


def leb(data, at):
    value = 0
    for place in range(5):
        need(at < len(data), "cut short")
        byte = data[at]
        value |= (byte & 127) << (7 * place)
        at += 1
        if byte < 128:
            need(place == 0 or byte, "longer than needed")
            return value, at
    raise Bad("number too long")


def table(data):
    rows, (count, at) = [], leb(data, 0)
    need(count <= 65536, "too many segments")
    for _ in range(count):
        sealed, at = leb(data, at)
        raw, at = leb(data, at)
        need(16 <= sealed <= 1 << 24 and 1 <= raw <= 1 << 22, "lengths")
        need(at < len(data) and data[at] <= 3, "flags")
        flags, (chunks, at) = data[at], leb(data, at + 1)
        need(1 <= chunks <= 65536, "count of chunks")
        found = []
        for _ in range(chunks):
            need(at + 32 <= len(data), "cut short")
            length, end = leb(data, at + 32)
            need(length, "empty chunk")
            found.append((data[at : at + 32].hex(), length))
            at = end
        need(sum(length for _, length in found) == raw, "chunks do not fill the segment")
        rows.append((sealed, raw, flags, found))
    need(at == len(data) and sum(r[0] for r in rows) <= 1 << 24, "bytes behind, or too long")
    return rows


def chunk_map(data):
    need(data[:8] == b"UNSEENC1" and 8 < len(data) <= 1040384, "map of chunks")
    at, last = 8, -1
    while at < len(data):
        number, count = (int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 38))
        need(number > last and 16 <= data[at + 36] <= 24 and 12 <= data[at + 37] <= 22, "row")
        at, last = at + 42, number
        starts = [int.from_bytes(data[i : i + 4], "little") for i in range(at, at + 4 * count, 4)]
        need(starts and starts == sorted(set(starts)), "starts")
        at += 4 * count
    need(at == len(data), "cut short")


def power(least, size):
    while least < size:
        least *= 2
    return least


def name_ok(name):
    return 0 < len(name) <= 255 and name not in (b".", b"..") and not set(name) & {0, 0x2F}


def extents(list_):
    total = 0
    for one in list_:
        length = one[1] if isinstance(one, list) else one
        need(length > 0 and (not isinstance(one, list) or len(one[0]) == 32), "extent")
        need(not isinstance(one, list) or length <= 1 << 22, "chunk too long")
        total += length
    return total


def entry(e):
    need(len(e) == 12 and name_ok(e[0]) and e[2] <= 0o7777 and e[8] < 10**9, "entry")
    names = [a[0] for a in e[9]]
    need(names == sorted(set(names)), "attributes")
    if e[1] == 0:
        size, depth, parts = e[11]
        need(depth <= 4 and (depth or extents(parts) == size), "content")
    else:
        shape = {1: bytes, 2: bytes, 3: type(None), 4: type(None), 5: list, 6: list}
        need(isinstance(e[11], shape[e[1]]), "content")


def tree(data):
    version, kind, parts = cbor(data)
    need(version == 1 and kind <= 3, "version or kind")
    if kind <= 1:
        names = [p[0] for p in parts]
        need(names == sorted(set(names)) and all(map(name_ok, names)), "names")
        need(kind == 0 or parts, "no parts")
    if kind == 0:
        for e in parts:
            entry(e)
    if kind == 2:
        extents(parts)


def refused(read, data, why):
    try:
        read(data)
    except Bad:
        return
    raise Bad(f"was taken: {why}")


def check_one_pack(v, p):
    rows = table(bytes.fromhex(p["table"]))
    need(len(p["header"]) == 2 * 1245 and bytes.fromhex(p["header"])[:9] == b"UNSEENP1\x01", "header")
    need(bytes.fromhex(p["header"])[13:29].hex() == v["inputs"]["device_id"], "device")
    body = 0
    for (sealed, raw, flags, chunks), segment in zip(rows, p["segments"], strict=True):
        need(len(segment["sealed"]) == 2 * sealed == len(segment["encoded"]) + 32, "sealed length")
        need(flags == segment["zstd"] + 2 * segment["kind"], "flags")
        need(chunks == [(c["id"], c["length"]) for c in segment["chunks"]], "chunks")
        body += sealed
    footer = len(p["footer"]) // 2
    need(footer == power(4096, len(p["table"]) // 2 + 116), "footer length")
    need(bytes.fromhex(p["trailer"]) == footer.to_bytes(4, "little") + b"\x01" + bytes(11), "trailer")
    need(p["length"] == 1245 + body + p["padding_length"] + footer + 16, "sum of lengths")
    need(p["length"] == power(65536, 1245 + body + 16 + footer + 16), "ladder")


def check_pack():
    v = load("pack")
    for section in ("pack", "pack_by_owner"):
        check_one_pack(v, v[section])
    for line in v["ladder"]:
        footer = power(4096, line["table"] + 116)
        length = power(65536, 1245 + line["body"] + 16 + footer + 16)
        need((footer, length if length <= 1 << 24 else None) == (line["footer"], line["pack"]), line)
    for case in v["refused_tables"]:
        refused(table, bytes.fromhex(case["table"]), case["why"])
    m = v["manifest"]
    need(len(m["sealed"]) // 2 % 4096 == 0 and bytes.fromhex(m["sealed"])[:8] == b"UNSEENM1", "manifest")
    plain = cbor(bytes.fromhex(m["cbor"]))
    need(len(plain) == 16 and plain[15] and (plain[13] is None or len(plain[13]) == 8), "manifest")
    need(all(len(m) == 3 and len(m[1]) == len(m[2]) == 32 for m in plain[15]), "maps of a manifest")
    chunk_map(bytes.fromhex(v["chunk_map"]["map"]))


def check_tree():
    v = load("tree")
    for one in v["entries"]:
        e = cbor(bytes.fromhex(one["bytes"]))
        need(e[0].hex() == one["name"], "name")
        entry(e)
    for one in v["objects"]:
        tree(bytes.fromhex(one["bytes"]))
    for case in v["refused_objects"]:
        refused(tree, bytes.fromhex(case["object"]), case["why"])


def ascending(keys, most):
    need(0 < len(keys) <= most and keys == sorted(set(keys)), "not ascending")


def numbers(row, length):
    need(len(row) == length and all(isinstance(n, int) and n >= 0 for n in row), "numbers")


def body(kind, b):
    """The shape of each kind of entry that has rules beyond its CBOR."""
    lengths = {0: 5, 1: 6, 2: 2, 3: 2, 4: 2, 5: 12, 8: 2, 12: 6, 13: 3, 15: 2, 16: 5}
    need(kind not in lengths or len(b) == lengths[kind], "length of a body")
    if kind in (7, 9, 10, 11, 17, 32):
        ascending(b, 1024)
    if kind == 8:
        ascending(b[0], 1024)
    if kind == 12:
        ascending([s[0] for s in b[5]], 512)
        need(len(b[2]) <= 16 * 1024, "packset of an entry")
    if kind == 5:
        need(b[0] <= 2 and 2 <= b[1] <= 3650 and 1 <= b[5] <= 10_000 and b[10] == 0, "policy")
        for rules in [b[3]] + [s[1] for s in b[4]]:
            numbers(rules, 7)
        for rows in (b[4], b[8]):
            need(not rows or ascending([r[0] for r in rows], 256) is None, "rows")


def check_log():
    v = load("log")
    device = v["inputs"]["device_id"]
    last, kinds = 0, set()
    for number, line in enumerate(v["log"]):
        e = cbor(bytes.fromhex(line["entry"]))
        need(len(e) == 7 and e[0].hex() == v["inputs"]["vault_id"] and e[1] == number, "entry")
        previous = v["log"][number - 1]["record_hash"] if number else "00" * 32
        need(e[2].hex() == previous, "chain")
        author = {16: bytes, 17: bytes, 32: int}.get(e[5], type(None))
        need(isinstance(e[3], author) and e[3] in (None, 1, bytes.fromhex(device)), "author")
        need((e[3] == 1) == (line["signature"] == "00" * 64), "the server signs with zeros")
        body(e[5], e[6])
        kinds.add(e[5])
        record = cbor(bytes.fromhex(line["record"]))
        need([r.hex() for r in record[:2]] == [line["entry"], line["signature"]], "record")
        need(record[2] == line["received"] >= last, "received")
        last = line["received"]
    need(kinds == set(range(33)) - {6} - set(range(20, 32)), "a kind is missing")
    start, end, totals, _ = cbor(bytes.fromhex(v["disclosure"]["bytes"]))
    need(start % 60 == end % 60 == 0, "minutes")
    need(all(len(str(n).rstrip("0")) <= 2 for n in totals), "two digits")
    need(bytes.fromhex(v["login_messages"]["owner"]).startswith(b"unseen auth v1\0"), "login")


def check_chunker():
    for case in load("chunker")["cuts"]:
        lengths = case["chunk_lengths"]
        need(sum(lengths) == case["input_length"] and max(lengths) <= case["max"], "lengths")
        need(all(n >= case["min"] for n in lengths[:-1]), "a short chunk that is not the last")


def check_crypto():
    v = load("crypto")
    need(len(v["schedule"]["write_set"]) == 2 * 160, "write set")
    for kind in ("recovery", "passphrase", "passphrase_anywhere"):
        need(len(v["slots"][kind]) == 2 * 250, kind)
    need(len(v["introduction"]["sealed"]) == 2 * 1424, "introduction")
    need(v["device_key"]["file"].startswith(b"UNSEENK1".hex()), "device.key")


for check in (check_pack, check_tree, check_log, check_chunker, check_crypto):
    check()
    print(check.__name__.removeprefix("check_"), "ok")
