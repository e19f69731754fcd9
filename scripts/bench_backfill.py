#!/usr/bin/env python3
"""Times the three ways to move files, with others that do the same beside them, and prints ratios.

TPC-H lineitem (lineitem.py) of scale factor LAKESHIFT_BENCH_SF (5 if not set: 30 million rows). Of every number the least of all
rounds counts; ours is the `backfill` step, from a Hive-style table to Iceberg partitioned by ship month. All files are in the
page cache, and times include the start of a process.

- Rewrite: unpartitioned files into months. Beside it DuckDB's COPY … PARTITION_BY; both compress by ZSTD level 1. Ours also takes
  the sums of the old rows for the validation.
- Splice: one file a day into months. Beside it the same COPY of the same files, and copying their bytes.
- Adopt: LAKESHIFT_BENCH_FILES small files (100,000 if not set) become a Delta table where they lie: plan and backfill. Beside it
  delta-rs' convert_to_delta, which does not look at the files' columns one by one.
- Adopt on S3: the same of LAKESHIFT_BENCH_S3_FILES files (100,000 if not set) on a SeaweedFS with 20 ms of added latency; delta-rs
  reads footers one by one, so it is timed once with every fiftieth of the files, and the time is told per file.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import lineitem
import s3_latency
from bench_validate import Cost, least, run, table
from playbook import UNTIL_BACKFILL, Migration, scratch

THREADS = 2
ROUNDS = int(os.environ.get("LAKESHIFT_BENCH_ROUNDS", "3"))
LATENCY_MS = 20
PEER_SHARE = 50
SPEC = """\
apiVersion: lakeshift/v1
name: moved
control: {root}/control
source: {{format: hive, location: {source}}}
target: {{format: {format}, location: {target}{settings}}}
backfill: {{strategy: {strategy}, concurrency: 2, memory: 672MiB}}
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
# Neither reflinks nor copies within the kernel: the bytes pass through the process, as they do in a backfill.
COPY_BYTES = """
import pathlib, sys
target = pathlib.Path(sys.argv[2])
target.mkdir()
for path in pathlib.Path(sys.argv[1]).iterdir():
    (target / path.name).write_bytes(path.read_bytes())
"""
# In a process of its own: a process starts with its parent's peak of memory.
SMALL = "import pyarrow.parquet as pq, sys; pq.write_table(pq.read_table(sys.argv[1]).slice(0, 100), sys.argv[2])"
UPLOAD = """
import concurrent.futures, pathlib, pyarrow.fs, sys
scheme, endpoint = sys.argv[1].split("://")
how = {"endpoint_override": endpoint, "scheme": scheme, "region": "us-east-1", "allow_delayed_open": True}
store, data = pyarrow.fs.S3FileSystem(**how), pathlib.Path(sys.argv[2]).read_bytes()
def put(number):
    with store.open_output_stream(f"lake/{sys.argv[3]}/{number:06}.parquet") as stream:
        stream.write(data)
with concurrent.futures.ThreadPoolExecutor(16) as threads:
    list(threads.map(put, range(int(sys.argv[4]))))
"""
CONVERT = """
import deltalake, os, sys
options = {"AWS_ENDPOINT_URL": os.environ["ENDPOINT"], "AWS_ALLOW_HTTP": "true"} if "ENDPOINT" in os.environ else None
deltalake.convert_to_deltalake(sys.argv[1], storage_options=options)
"""


class Bench:
    """The parts of the benchmark, in a scratch folder."""

    def __init__(self, lakeshift: str, root: pathlib.Path) -> None:
        self.lakeshift = lakeshift
        self.root = root

    def spec(self, source: object, target: object, strategy: str, kind: str, settings: str) -> Migration:
        """A migration in an empty folder, which is not planned yet."""
        root = scratch(self.root / "backfill")
        target = target or root / "lake" / "moved"
        text = SPEC.format(root=root, source=source, target=target, strategy=strategy, format=kind, settings=settings)
        return Migration(self.lakeshift, root, "moved", text)

    def backfill(self, source: pathlib.Path, strategy: str) -> Cost:
        """One backfill into months."""
        settings = ", partitioning: [month(l_shipdate)], parquet: {compression: zstd(1)}"
        migration = self.spec(source, None, strategy, "iceberg", settings)
        migration.steps(UNTIL_BACKFILL)
        cost = run([self.lakeshift, "--quiet", "backfill", migration.spec])
        print_files(migration.root / "lake" / "moved" / "data", f"lakeshift, {strategy}")
        return cost

    def python(self, code: str, *arguments: object) -> Cost:
        """Runs a peer."""
        return run([sys.executable, "-c", code, *arguments])

    def copy(self, source: pathlib.Path, code: str) -> Cost:
        """Runs a peer that writes a folder."""
        target = self.root / "copied"
        shutil.rmtree(target, ignore_errors=True)
        cost = self.python(code, source, target, THREADS)
        if code == COPY:
            print_files(target, "DuckDB")
        return cost

    def beside(self, title: str, ways: dict, count: int = ROUNDS, per_file: dict | None = None) -> None:
        """Runs all ways in turn; the first is ours. `per_file` tells the files of ways that did not have the same."""
        costs = [{name: way() for name, way in ways.items()} for _ in range(count)]
        found = {name: least([one[name] for one in costs]) for name in ways}
        shares = {name: 1 / (per_file or {}).get(name, 1) for name in found}
        ours = next(iter(found))
        rows = []
        for name, cost in found.items():
            ratio = found[ours].wall * shares[ours] / (cost.wall * shares[name])
            cpu = found[ours].cpu * shares[ours] / (cost.cpu * shares[name])
            rows.append([name, f"{cost.wall:.1f}", f"{cost.cpu:.1f}", f"{cost.peak_mib:.0f}", f"{ratio:.3f}", f"{cpu:.3f}"])
        table(title, ["", "wall s", "CPU s", "peak MiB", "ours/its, wall", "ours/its, CPU"], rows)

    def rewrite(self, folder: pathlib.Path) -> None:
        """Decoded and encoded anew."""
        source = lineitem.old_folder(folder)
        ways = {
            "lakeshift, rewrite": lambda: self.backfill(source, "rewrite"),
            "DuckDB COPY … PARTITION_BY": lambda: self.copy(source, COPY),
        }
        self.beside("Rewrite: unpartitioned files into months", ways)

    def splice(self, folder: pathlib.Path) -> None:
        """Copied undecoded."""
        source = lineitem.days_folder(folder)
        ways = {
            "lakeshift, splice": lambda: self.backfill(source, "splice"),
            "DuckDB COPY … PARTITION_BY": lambda: self.copy(source, COPY),
            "copying the bytes": lambda: self.copy(source, COPY_BYTES),
        }
        self.beside(f"Splice: {len(list(source.iterdir())):,} files of a day into months", ways)

    def small_file(self) -> pathlib.Path:
        """A file of 100 rows."""
        path = self.root / "small.parquet"
        subprocess.run([sys.executable, "-c", SMALL, lineitem.files(self.root / "sf1")["old"][0], path], check=True)
        return path

    def small_files(self, count: int) -> pathlib.Path:
        """A folder of so many small files."""
        folder = self.root / "small"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        data = self.small_file().read_bytes()
        for number in range(count):
            (folder / f"{number:06}.parquet").write_bytes(data)
        return folder

    def adopted(self, location: object, storage: str = "") -> Cost:
        """Plan and backfill, in place."""
        migration = self.spec(location, location, "adopt", "delta", "")
        migration.spec.write_text(migration.spec.read_text() + storage)
        plan = run([self.lakeshift, "--quiet", "plan", migration.spec])
        migration.steps(["approve", "dual-write"])
        moved = run([self.lakeshift, "--quiet", "backfill", migration.spec])
        print(f"<!-- plan {plan}, backfill {moved} -->")
        return Cost(plan.wall + moved.wall, plan.cpu + moved.cpu, max(plan.peak_mib, moved.peak_mib))

    def adopt(self, count: int) -> None:
        """Registered in place, on the local disk."""
        folder = self.small_files(count)

        def fresh(way) -> Cost:
            shutil.rmtree(folder / "_delta_log", ignore_errors=True)
            return way()

        ways = {
            "lakeshift, adopt": lambda: fresh(lambda: self.adopted(folder)),
            "delta-rs convert_to_delta": lambda: fresh(lambda: self.python(CONVERT, folder)),
        }
        self.beside(f"Adopt: {count:,} small files into a Delta table where they lie", ways)

    def adopt_s3(self, count: int) -> None:
        """The same on an object store that is far away."""
        with s3_latency.server(scratch(self.root / "s3"), LATENCY_MS) as server:
            os.environ.update(server.environment)
            peers = max(1, count // PEER_SHARE)
            small = self.small_file()
            for prefix, files in (("ours", count), ("its", peers)):
                subprocess.run([sys.executable, "-c", UPLOAD, server.near, small, prefix, str(files)], check=True)
            os.environ["ENDPOINT"] = server.far
            bucket = f"s3://{s3_latency.BUCKET}"
            keys = "access_key_id: '${AWS_ACCESS_KEY_ID}', secret_access_key: '${AWS_SECRET_ACCESS_KEY}', region: us-east-1"
            storage = f"storage: {{endpoint: {server.far}, allow_http: 'true', {keys}}}\n"
            # The control folder lies on the local disk.
            ours, its = "lakeshift, adopt", f"delta-rs convert_to_delta, {peers:,} files"
            ways = {
                ours: lambda: self.adopted(f"{bucket}/ours", storage),
                its: lambda: self.python(CONVERT, f"{bucket}/its"),
            }
            title = f"Adopt on S3: {count:,} small files behind {LATENCY_MS} ms, ratios per file"
            self.beside(title, ways, 1, {ours: count, its: peers})


def print_files(folder: pathlib.Path, who: str) -> None:
    """What came out, as a comment."""
    sizes = sorted(path.stat().st_size for path in folder.rglob("*.parquet"))
    print(f"<!-- {who}: {len(sizes)} files, {sum(sizes) / 1e6:.0f} MB, median {sizes[len(sizes) // 2] / 1e6:.1f} MB -->")


def main() -> None:
    """Runs the benchmark."""
    parts = ["rewrite", "splice", "adopt", "adopt-s3"]
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], *([part] for part in parts)):
        sys.exit(f"{__doc__}\nUsage: bench_backfill.py LAKESHIFT_BINARY SCRATCH_FOLDER [{' | '.join(parts)}]")
    root = pathlib.Path(sys.argv[2]).resolve()
    root.mkdir(parents=True, exist_ok=True)
    bench = Bench(str(pathlib.Path(sys.argv[1]).resolve()), root)
    scale = int(os.environ.get("LAKESHIFT_BENCH_SF", "5"))
    count = int(os.environ.get("LAKESHIFT_BENCH_FILES", "100000"))
    count_s3 = int(os.environ.get("LAKESHIFT_BENCH_S3_FILES", "100000"))
    folder = root / f"sf{scale}"
    for part, scale_of in ((folder, scale), (root / "sf1", 1)):
        subprocess.run([sys.executable, lineitem.__file__, part, str(scale_of), *["days"] * (part == folder)], check=True)
    print(f"{os.cpu_count()} processors, {THREADS} threads, scale factor {scale}, least of {ROUNDS}")
    jobs = {
        "rewrite": lambda: bench.rewrite(folder),
        "splice": lambda: bench.splice(folder),
        "adopt": lambda: bench.adopt(count),
        "adopt-s3": lambda: bench.adopt_s3(count_s3),
    }
    for part in sys.argv[3:] or parts:
        jobs[part]()


if __name__ == "__main__":
    main()
