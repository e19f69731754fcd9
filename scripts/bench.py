#!/usr/bin/env python3
"""Times a migration step by step: Hive to Iceberg (every row rewritten) and Hive to Delta in place (none).

There is one benchmark so far, this one. It takes the test data (508,126 rows), or with LAKESHIFT_BENCH_DATA=flights-3m.parquet
the 3,000,000 rows of half a year, and repeats the playbook from plan to cutover in fresh folders. It prints for every step the
least, the median and the greatest of the times, which include the start of a process.

Note that `make build` compiles our own crates for development (opt-level 1) and the crates they use for speed (opt-level 3).

Usage: bench.py LAKESHIFT_BINARY SCRATCH_FOLDER [RUNS, 3 if not given]
"""

import os
import pathlib
import shutil
import statistics
import sys

from playbook import PROJECT, SINCE_BACKFILL, UNTIL_BACKFILL, Migration, scratch, spec, write_days

STEPS = UNTIL_BACKFILL + SINCE_BACKFILL


def run(lakeshift: str, root: pathlib.Path, source: pathlib.Path, template: str) -> dict[str, float]:
    """One migration of a fresh copy; returns the steps' seconds."""
    scratch(root)
    for name in ("flights", "flights-daily"):
        shutil.copytree(source, root / "lake" / name)
    # 16 MiB: of the large data set that is one unit, as it would be of any table of its size.
    sizes = {"unit_size: .*": "unit_size: 16MiB", "target_file_size: .*": "target_file_size: 16MiB"}
    text = spec(template, sizes if template == "flights-to-iceberg" else {})
    migration = Migration(lakeshift, root, template, text)
    migration.steps(STEPS)
    return migration.seconds


def table(title: str, runs: list[dict[str, float]]) -> None:
    """Prints the times of several runs."""
    print(f"\n{title}, {len(runs)} runs, seconds\n{'step':<12}{'least':>8}{'median':>8}{'greatest':>10}")
    totals = [{**times, "all": sum(times.values())} for times in runs]
    for step in [*STEPS, "all"]:
        times = [one[step] for one in totals]
        print(f"{step:<12}{min(times):>8.2f}{statistics.median(times):>8.2f}{max(times):>10.2f}")


def main() -> None:
    """Runs the benchmark."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    lakeshift, root = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) == 4 else 3
    scratch(root)
    data = os.environ.get("LAKESHIFT_BENCH_DATA")
    if data:
        source = root / "source"
        print(f"{write_days(pathlib.Path(data), source):,} rows from {data}")
    else:
        source = PROJECT / "testdata" / "flights"
        print("508,126 rows from testdata/flights; LAKESHIFT_BENCH_DATA=flights-3m.parquet takes 3,000,000")
    for template in ("flights-to-iceberg", "flights-to-delta"):
        table(template, [run(lakeshift, root / f"{template}-{number}", source, template) for number in range(count)])


if __name__ == "__main__":
    main()
