#!/usr/bin/env python3
"""Times the three ways to move files, with others that do the same beside them, and prints ratios.

TPC-H lineitem (lineitem.py) of scale factor LAKESHIFT_BENCH_SF (5 if not set: 30 million rows). Of every number the least of all
rounds counts; ours is the `backfill` step, from a Hive-style table to Iceberg partitioned by ship month. All files are in the
page cache, and times include the start of a process.

- Rewrite: unpartitioned files into months. Beside it DuckDB's COPY … PARTITION_BY, which compresses by ZSTD level 1; ours takes 3.
- Splice: files of a third of a month into months. Beside it the same COPY of the same files, and copying their bytes.
- Adopt: LAKESHIFT_BENCH_FILES small files (20,000 if not set) become a Delta table where they lie: plan and backfill. Beside it
  delta-rs' convert_to_delta, which does not look at the files' columns one by one.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import lineitem
from bench_validate import Cost, least, run, table
from playbook import UNTIL_BACKFILL, Migration, scratch

THREADS = 2
ROUNDS = 3
SPEC = """\
apiVersion: lakeshift/v1
name: moved
control: {root}/control
source: {{format: hive, location: {source}}}
target: {{format: {format}, location: {target}{partitioning}}}
backfill: {{strategy: {strategy}, concurrency: 2, memory: 1GiB}}
cutover: {{alias: moved}}
"""
COPY = """
import duckdb, sys
connection = duckdb.connect(config={"threads": int(sys.argv[3]), "preserve_insertion_order": False})
connection.execute(f"SET temp_directory = '{sys.argv[2]}.spill'")
rows = f"SELECT *, strftime(l_shipdate, '%Y-%m') AS month FROM read_parquet('{sys.argv[1]}/*.parquet')"
how = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARTITION_BY (month)"
connection.execute(f"COPY ({rows}) TO '{sys.argv[2]}' ({how})")
"""
# In a process of its own: a process starts with its parent's peak of memory.
SMALL = "import pyarrow.parquet as pq, sys; pq.write_table(pq.read_table(sys.argv[1]).slice(0, 100), sys.argv[2])"
CONVERT = "import deltalake, sys; deltalake.convert_to_deltalake(sys.argv[1])"


class Bench:
    """The parts of the benchmark, in a scratch folder."""

    def __init__(self, lakeshift: str, root: pathlib.Path) -> None:
        self.lakeshift = lakeshift
        self.root = root

    def migration(self, source: pathlib.Path, strategy: str, in_place: bool = False) -> Migration:
        """A migration in an empty folder, which is not planned yet."""
        root = scratch(self.root / "backfill")
        target = source if in_place else root / "lake" / "moved"
        partitioning = "" if in_place else ", partitioning: [month(l_shipdate)]"
        kind = "delta" if in_place else "iceberg"
        text = SPEC.format(
            root=root, source=source, target=target, strategy=strategy, partitioning=partitioning, format=kind
        )
        return Migration(self.lakeshift, root, "moved", text)

    def backfill(self, source: pathlib.Path, strategy: str) -> Cost:
        """One backfill."""
        migration = self.migration(source, strategy)
        migration.steps(UNTIL_BACKFILL)
        return run([self.lakeshift, "--quiet", "backfill", migration.spec])

    def copy(self, source: pathlib.Path) -> Cost:
        """DuckDB's way."""
        target = self.root / "copied"
        shutil.rmtree(target, ignore_errors=True)
        return run([sys.executable, "-c", COPY, source, target, THREADS])

    def copy_bytes(self, source: pathlib.Path) -> Cost:
        """The files, byte by byte."""
        target = self.root / "copied"
        shutil.rmtree(target, ignore_errors=True)
        # Neither reflinks nor copies within the kernel: the bytes pass through the process, as they do in a backfill.
        return run(["sh", "-c", f"mkdir -p {target} && for f in {source}/*.parquet; do cat $f > {target}/$(basename $f); done"])

    def beside(self, title: str, ways: dict) -> None:
        """Runs all ways in turn; the first is ours."""
        costs = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS)]
        found = {name: least([one[name] for one in costs]) for name in ways}
        ours = next(iter(found.values()))
        rows = [
            [name, f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{cost.peak_mib:.0f}", f"{ours.wall / cost.wall:.2f}"]
            for name, cost in found.items()
        ]
        table(title, ["", "wall s", "CPU s", "peak MiB", "ours/its, wall"], rows)

    def small_files(self, count: int) -> pathlib.Path:
        """A folder of so many small files."""
        folder = self.root / "small"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        first = folder / "00000.parquet"
        subprocess.run([sys.executable, "-c", SMALL, lineitem.files(self.root / "sf1")["old"][0], first], check=True)
        for number in range(1, count):
            shutil.copyfile(first, folder / f"{number:05}.parquet")
        return folder

    def adopt(self, folder: pathlib.Path) -> Cost:
        """Plan and backfill, in place."""
        shutil.rmtree(folder / "_delta_log", ignore_errors=True)
        migration = self.migration(folder, "adopt", in_place=True)
        plan = run([self.lakeshift, "--quiet", "plan", migration.spec])
        migration.steps(["approve", "dual-write"])
        moved = run([self.lakeshift, "--quiet", "backfill", migration.spec])
        return Cost(plan.wall + moved.wall, plan.cpu + moved.cpu, max(plan.peak_mib, moved.peak_mib))

    def convert(self, folder: pathlib.Path) -> Cost:
        """delta-rs' way."""
        shutil.rmtree(folder / "_delta_log", ignore_errors=True)
        return run([sys.executable, "-c", CONVERT, folder])


def main() -> None:
    """Runs the benchmark."""
    if len(sys.argv) not in (3, 4):
        sys.exit(f"{__doc__}\nUsage: bench_backfill.py LAKESHIFT_BINARY SCRATCH_FOLDER [rewrite | splice | adopt]")
    root = pathlib.Path(sys.argv[2]).resolve()
    root.mkdir(parents=True, exist_ok=True)
    bench = Bench(str(pathlib.Path(sys.argv[1]).resolve()), root)
    scale, count = (int(os.environ.get(name, default)) for name, default in SIZES)
    folder = root / f"sf{scale}"
    wanted = sys.argv[3:] or ["rewrite", "splice", "adopt"]
    for part in {f"sf{scale}", "sf1"}:
        subprocess.run([sys.executable, lineitem.__file__, root / part, part.removeprefix("sf"), "parts"], check=True)
    old, parts = lineitem.old_folder(folder), lineitem.parts_folder(folder)
    print(f"{os.cpu_count()} processors, {THREADS} threads, scale factor {scale}, least of {ROUNDS}")
    duck = "DuckDB COPY … PARTITION_BY"
    if "rewrite" in wanted:
        ways = {"lakeshift, rewrite": lambda: bench.backfill(old, "rewrite"), duck: lambda: bench.copy(old)}
        bench.beside("Rewrite: unpartitioned files into months", ways)
    if "splice" in wanted:
        ours = {"lakeshift, splice": lambda: bench.backfill(parts, "splice"), duck: lambda: bench.copy(parts)}
        files = len(list(parts.iterdir()))
        bench.beside(f"Splice: {files} files into months", {**ours, "copying the bytes": lambda: bench.copy_bytes(parts)})
    if "adopt" in wanted:
        small = bench.small_files(count)
        ways = {"lakeshift, adopt": lambda: bench.adopt(small), "delta-rs convert_to_delta": lambda: bench.convert(small)}
        bench.beside(f"Adopt: {count:,} small files into a Delta table where they lie", ways)


SIZES = (("LAKESHIFT_BENCH_SF", "5"), ("LAKESHIFT_BENCH_FILES", "20000"))

if __name__ == "__main__":
    main()
