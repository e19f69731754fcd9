#!/usr/bin/env python3
"""Measures rollbacks: how long one takes when others have written to the new table, and whether anything is lost.

The flights of testdata/flights move from Hive directories to a Delta table of their own. Then, again and again: the cutover; a
writer of its own (deltalake) appends 1,000 rows to the new table; `rollback` carries them to the old one and moves the
readers back; every row is counted in both tables; mirror, validation and the next cutover follow. All the while a reader polls: it
resolves the alias and counts the rows of that table. It must have an answer every time, and one of the counts that there are.

Times include the start of a process. Usage: bench_rollback.py LAKESHIFT_BINARY SCRATCH_FOLDER [RUNS, 100 if not given]
"""

import json
import pathlib
import shutil
import statistics
import sys
import threading
import time

import deltalake
import pyarrow.parquet as pq
from playbook import PROJECT, SINCE_BACKFILL, UNTIL_BACKFILL, Migration, scratch, spec

ROWS = 1_000


def old_rows(folder: pathlib.Path) -> int:
    """Rows of a Hive table, by the footers of what a reader of the folder sees."""
    files = (path for path in folder.glob("flight_date=*/*.parquet"))
    return sum(pq.read_metadata(path).num_rows for path in files)


def new_rows(folder: pathlib.Path) -> int:
    """Rows of a Delta table, by its log."""
    actions = deltalake.DeltaTable(str(folder)).get_add_actions(flatten=True)
    return sum(actions.column("num_records").to_pylist())


class Reader(threading.Thread):
    """Resolves the alias and counts rows, until it is stopped."""

    def __init__(self, root: pathlib.Path):
        super().__init__(daemon=True)
        self.root = root
        self.counts: set[int] = set()
        self.polls = 0
        self.failures: list[str] = []
        self.slowest = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        """Polls without a pause."""
        while not self.over.is_set():
            began = time.monotonic()
            try:
                pointer = max((self.root / "lake/control/aliases/flights-new").glob("*.json"))
                pointed = json.loads(pointer.read_text())
                folder = pathlib.Path(pointed["location"].removeprefix("file://"))
                self.counts.add(new_rows(folder) if pointed["format"] == "delta" else old_rows(folder))
            except Exception as error:  # whatever it is, the reader had no answer
                self.failures.append(repr(error))
            self.polls += 1
            self.slowest = max(self.slowest, time.monotonic() - began)


def tell(name: str, seconds: list[float]) -> None:
    """One line of a distribution."""
    ordered = sorted(seconds)
    p95 = ordered[max(0, round(len(ordered) * 0.95) - 1)]
    print(f"{name:<42}{statistics.median(ordered):>8.2f}{p95:>8.2f}{ordered[-1]:>8.2f}")


def main() -> None:
    """Runs the benchmark."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    lakeshift, root = str(pathlib.Path(sys.argv[1]).resolve()), scratch(pathlib.Path(sys.argv[2]))
    runs = int(sys.argv[3]) if len(sys.argv) == 4 else 100
    shutil.copytree(PROJECT / "testdata" / "flights", root / "lake" / "flights-daily")
    changes = {
        "^name: .*": "name: flights-new",
        "alias: .*": "alias: flights-new",
        "format: delta\n  location: .*": "format: delta\n  location: ../../lake/flights-new",
        "strategy: adopt": "strategy: rewrite",
    }
    migration = Migration(lakeshift, root, "flights-new", spec("flights-to-delta", changes))
    migration.steps(UNTIL_BACKFILL + SINCE_BACKFILL[:-1])
    old, new = root / "lake" / "flights-daily", root / "lake" / "flights-new"
    rows = deltalake.DeltaTable(str(new)).to_pyarrow_table().slice(0, ROWS)
    expected, allowed = old_rows(old), set()
    reader = Reader(root)
    cutovers, rollbacks = [], []
    reader.start()
    for _ in range(runs):
        began = time.monotonic()
        migration.step("cutover")
        cutovers.append(time.monotonic() - began)
        allowed.add(expected)
        deltalake.write_deltalake(str(new), rows, mode="append")
        expected += ROWS
        allowed.add(expected)
        began = time.monotonic()
        migration.step("rollback")
        rollbacks.append(time.monotonic() - began)
        found = (old_rows(old), new_rows(new))
        if found != (expected, expected):
            sys.exit(f"the old table has {found[0]} rows, the new one {found[1]}, and {expected} were written")
        migration.steps(["mirror", "validate"])
    reader.over.set()
    reader.join()
    wrong = reader.counts - allowed
    print(f"{runs} rollbacks, each with {ROWS:,} rows that others had written; every row of {expected:,} is in both tables")
    print(f"{'seconds':<42}{'p50':>8}{'p95':>8}{'worst':>8}")
    tell("cutover", cutovers)
    tell("rollback, rows carried back included", rollbacks)
    print(f"reader: {reader.polls:,} polls, {len(reader.failures)} without an answer, {len(wrong)} counts that never were,")
    print(f"        the slowest took {reader.slowest:.2f} s")
    if reader.failures or wrong:
        sys.exit(f"{reader.failures[:3]} {sorted(wrong)[:5]}")


if __name__ == "__main__":
    main()
