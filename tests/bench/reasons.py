"""Why a target is not met: by its name in the section Targets of docs/PERFORMANCE.md, which shows only those that are needed.

Figures in here are of primitives, which do not change with the program.
"""

WALK = (
    "most of it is looking at every file. `find -size`, which does nothing else, takes 0.13 s of processor for src, 0.11 for "
    "mixed and 1.25 for a million files ([Growth](#growth)); starting, opening the vault and a signed, synced snapshot take 14 ms. What "
    "we add to that is 0.5 to 1.4 us a file, of 1.5 that the design allows."
)
STARTED = (
    "starting, opening the vault and a signed snapshot that is committed and synced are 14 ms of processor; bupstash "
    "needs 10."
)
CREATED = (
    "1.4 s are Argon2id, where bupstash has its key in a file: by the recovery code (`unseen-code`) the ratio is 1.68 for src and 1.35 for many. Of the rest nearly half is the kernel's, which creates each file and gives it its "
    "owner, mode and times (1.6 of 3.5 s for 200 000 files of many): whatever restores them asks for that. Elapsed, ours is ahead."
)
ELSEWHERE = (
    "the aim is from a peer that is not in this table: borg, which encrypts and hashes by instructions of the processor (AES, "
    "SHA). Every byte is read, chunked, hashed, sealed, hashed again with its pack and written: nothing of it can be left out. What "
    "does not compress is given up after a look at a few pieces."
)
SMALL = (
    "zstd, BLAKE3, sealing and signing are 87 % of all instructions of a first backup of small files "
    "([Where the time goes](#where-the-time-goes)), and bupstash does as much of them. With nothing else left, our time would be a seventh less."
)
PADDED = (
    "packs are padded, so that their lengths tell nothing: a percent of what does not compress. The target counts with it, and no "
    "peer here pads."
)
HTTPS = (
    "each byte passes TLS at both ends and the kernel's sockets, 0.46 to 0.48 s of processor a gigabyte by the design's primitives; "
    "what is local has neither. Server and client make 0.8 s of it for 211 MB of src, 0.3 of them the server. A backup keeps both "
    "processors busy, so elapsed it is as much."
)

REASONS = {
    "first backup, rand": ELSEWHERE,
    "first backup, vm": ELSEWHERE,
    "first backup, many": SMALL,
    "unchanged, src": WALK,
    "unchanged, many": WALK,
    "unchanged, mixed": WALK,
    "100 files touched, many": WALK,
    "unchanged, rand": STARTED,
    "unchanged, vm": STARTED,
    "restore, src": CREATED,
    "restore, many": CREATED,
    "restore, mixed": (
        "the aim is from rustic, which held 1665 MB for it and is not in this table. 1.4 s are Argon2id, which bupstash does not pay; "
        "the rest is decompressing, and creating 60 000 files with their metadata (15 to 27 us each by the design's primitives)."
    ),
    "restore, rand": (
        "the peers that the aim is from are not in this table. With `--memory`, restored files and vault share the memory with the corpus, and "
        "new pages cost as much as the work; 1.2 s are Argon2id. With the vault on disk it took 6.7 s, bupstash 10.3: 1.54 times."
    ),
    "stored, src": (
        "half a percent, by where packs end: other runs stored 210.3. The last pack of a run is padded to a standard size."
    ),
    "stored, rand": PADDED,
    "peak with 10,000,000 chunks indexed, MB": (
        "the first run of ten million files is above it, which holds packs and the maps of its chunks besides. The index itself has "
        "1.37 bytes a chunk and at most 64 Ki new records: 14 MB and a few. Runs on it take a third of the limit."
    ),
    "client's peak, MB": "a restore of a million files over HTTPS: what is known of files that wait for their packs, 36 MiB of packs, and answers on their way.",
    "server's peak, MB": "while it serves that restore: whole packs in answers. While it takes a backup it is 102 at most.",
    "over HTTPS, times local: processor": HTTPS,
    "over HTTPS, times local: elapsed": HTTPS,
}
