#!/usr/bin/env python3
"""Times a comparison of two tables, with others that read or compare the same files beside it, and prints ratios.

TPC-H lineitem (lineitem.py) of scale factor LAKESHIFT_BENCH_SF (5 if not set: 30 million rows), old in files without partitions,
new partitioned by month. `lakeshift diff` reads both sides whole. Its peers (peers.py) run in the same rounds, each in a process
of its own; of every number the least of all rounds counts. Times include the start of a process. All files are in the page cache.

- Speed: `lakeshift diff` beside DuckDB's sum of hashes, which is no proof, and pyarrow's decoding.
- EXCEPT ALL: DuckDB's exact comparison in both directions, at scale factor 1: at 5 one direction takes 13.5 GB.
- Second validation: a migration is validated, 1 % of its source's files change, the mirror carries that over, and it is validated
  again.
- Memory, with --memory only: `lakeshift diff` alone at scale factors 1, 5 and 20, where each side has 3.5 GB.

The tables stay in the scratch folder, which wants 3 GB at scale factor 5 and 8 GB more with --memory.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

# No data library here: a process starts with its parent's peak of memory.
import lineitem
from playbook import SINCE_BACKFILL, UNTIL_BACKFILL, Migration, scratch

THREADS = 2
EXCEPT_SCALE = 1
MEMORY_SCALES = (1, 5, 20)
PARTS = ["speed", "except", "again"]
SPEC = """\
apiVersion: lakeshift/v1
name: lineitem
control: {root}/control
source: {{format: hive, location: {root}/lake/lineitem}}
target: {{format: iceberg, location: {root}/lake/lineitem-by-month, partitioning: [month(l_shipdate)]}}
# About every file is a unit, so that a file that changes makes the mirror replace few files of the target.
backfill: {{strategy: rewrite, unit_size: {unit}, target_file_size: {unit}}}
cutover: {{alias: lineitem}}
"""


class Cost(NamedTuple):
    """What a process took."""

    wall: float
    cpu: float
    peak_mib: float


def least(costs: list[Cost]) -> Cost:
    """The least of each number."""
    return Cost(*map(min, zip(*costs)))


def run(call: list) -> Cost:
    """Runs a program to its end; its failure is this script's."""
    began = time.monotonic()
    with subprocess.Popen([str(part) for part in call], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, call))}\nended with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def rounds(calls: dict[str, list], count: int) -> dict[str, Cost]:
    """Runs all calls in turn, `count` times; the least of each call's costs."""
    costs = [{name: run(call) for name, call in calls.items()} for _ in range(count)]
    return {name: least([one[name] for one in costs]) for name in calls}


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Prints a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|---|{'--:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    sys.stdout.flush()


class Bench:
    """The parts of the benchmark."""

    def __init__(self, lakeshift: str, root: pathlib.Path, count: int) -> None:
        self.lakeshift = lakeshift
        self.root = root
        self.count = count

    def data(self, scale: int, *more: str) -> pathlib.Path:
        """The folder of the tables of a scale factor."""
        folder = self.root / f"sf{scale}"
        script = pathlib.Path(lineitem.__file__)
        subprocess.run([sys.executable, script, folder, str(scale), *more], check=True)
        return folder

    def diff(self, folder: pathlib.Path) -> list:
        """`lakeshift diff` of the two tables; any other verdict than PASS ends the benchmark."""
        sides = [f"hive:{lineitem.old_folder(folder)}", f"iceberg:{lineitem.new_folder(folder)}"]
        return [self.lakeshift, "--quiet", "diff", *sides, "--parallel", THREADS]

    def peer(self, job: str, folder: pathlib.Path) -> list:
        """A job of peers.py."""
        return [sys.executable, pathlib.Path(__file__).with_name("peers.py"), job, folder, THREADS]

    def beside(self, title: str, scale: int, jobs: dict[str, str]) -> None:
        """Compares `lakeshift diff` with peers."""
        folder = self.data(scale)
        peers = {name: self.peer(job, folder) for job, name in jobs.items()}
        costs = rounds({"lakeshift diff": self.diff(folder), **peers}, self.count)
        ours = costs["lakeshift diff"]
        rows = [
            [
                name,
                f"{cost.wall:.1f}",
                f"{cost.cpu:.1f}",
                f"{cost.peak_mib:.0f}",
                f"{ours.wall / cost.wall:.2f}",
                f"{ours.cpu / cost.cpu:.2f}",
            ]
            for name, cost in costs.items()
        ]
        columns = ["", "wall s", "CPU s", "peak MiB", "ours/its, wall", "ours/its, CPU"]
        table(f"{title}, scale factor {scale}, least of {self.count}", columns, rows)

    def speed(self, scale: int) -> None:
        """Beside what only reads, or is no proof."""
        jobs = {"hash": "DuckDB sum(hash(…)) by month", "decode": "pyarrow decodes"}
        self.beside("Both sides read whole", scale, jobs)

    def exact(self) -> None:
        """Beside what is exact."""
        self.beside("Exact comparisons", EXCEPT_SCALE, {"except": "DuckDB EXCEPT ALL, both ways"})

    def memory(self) -> None:
        """The peak of memory by the number of rows."""
        rows = []
        for scale in MEMORY_SCALES:
            folder = self.data(scale)
            size = sum(os.path.getsize(path) for path in lineitem.files(folder)["old"])
            cost = run(self.diff(folder))
            rows.append([str(scale), f"{6 * scale} million", f"{size / 1e9:.1f}", f"{cost.peak_mib:.0f}"])
        table("Memory", ["scale factor", "rows a side, about", "GB of old files", "peak MiB"], rows)

    def again(self, scale: int) -> None:
        """A validation after few files changed."""
        source = lineitem.parts_folder(self.data(scale, "parts"))
        root = scratch(self.root / "again")
        lake = root / "lake" / "lineitem"
        lake.mkdir()
        for path in source.iterdir():
            os.link(path, lake / path.name)
        migration = Migration(self.lakeshift, root, "lineitem", SPEC.format(root=root, unit=f"{512 * scale}KiB"))
        migration.steps([*UNTIL_BACKFILL, *SINCE_BACKFILL[: SINCE_BACKFILL.index("validate")]])
        validate = [self.lakeshift, "--quiet", "validate", migration.spec]
        full = rounds({"full": [*validate, "--read-all"]}, self.count)["full"]
        paths = sorted(lake.iterdir())
        changes = max(1, round(len(paths) / 100))
        costs = []
        for number in range(self.count):
            # Other files each time, from the middle of the years.
            for path in paths[len(paths) // 2 + number * changes :][:changes]:
                subprocess.run([sys.executable, lineitem.__file__, "drop-row", path], check=True)
            migration.step("mirror")
            costs.append(run(validate))
        again = least(costs)
        rows = [
            ["all", f"{full.wall:.2f}", f"{full.cpu:.2f}", ""],
            [
                f"{changes} changed",
                f"{again.wall:.2f}",
                f"{again.cpu:.2f}",
                f"{100 * again.wall / full.wall:.1f} %, {100 * again.cpu / full.cpu:.1f} %",
            ],
        ]
        title = f"Second validation, scale factor {scale}, {len(paths)} files a side, least of {self.count}"
        table(title, ["files read of the source", "wall s", "CPU s", "of the first, wall and CPU"], rows)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lakeshift", type=pathlib.Path, help="the binary")
    parser.add_argument("scratch", type=pathlib.Path, help="the scratch folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["speed", "except", "again", "memory"], help="one part")
    parser.add_argument("--memory", action="store_true", help="also the peaks at scale factors 1, 5 and 20")
    arguments = parser.parse_args()
    root = arguments.scratch.resolve()
    root.mkdir(parents=True, exist_ok=True)
    bench = Bench(str(arguments.lakeshift.resolve()), root, arguments.rounds)
    scale = int(os.environ.get("LAKESHIFT_BENCH_SF", "5"))
    jobs = {
        "speed": lambda: bench.speed(scale),
        "except": bench.exact,
        "again": lambda: bench.again(scale),
        "memory": bench.memory,
    }
    parts = [arguments.only] if arguments.only else [*PARTS, *["memory"] * arguments.memory]
    print(f"{os.cpu_count()} processors, {THREADS} threads")
    for part in parts:
        jobs[part]()


if __name__ == "__main__":
    main()
