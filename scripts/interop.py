#!/usr/bin/env python3
"""Lets programs that know nothing of Lakeshift read the tables that it has migrated, and compares every row.

Migrates the test data by both playbooks in a scratch folder, changes the source meanwhile, and checks with pyiceberg,
DuckDB and deltalake: row counts, every row as a multiset against the source's Parquet files (EXCEPT ALL in both directions,
by DuckDB), partition pruning, and that others can append to the migrated tables afterwards. With LAKESHIFT_FLIGHTS_3M set to
flights-3m.parquet (or found at ../shared/data beside the checkout), its 3,000,000 rows of half a year go the same way.

Usage: interop.py LAKESHIFT_BINARY SCRATCH_FOLDER
Prints PASS or FAIL for each check; the exit code is 1 if one failed.
"""

import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import sys
import warnings

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from duckdb_extensions import import_extension
from playbook import PROJECT, SINCE_BACKFILL, UNTIL_BACKFILL, Migration, named, scratch, spec, write_days
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import LongType
from pyroaring import BitMap64

COLUMNS = "date, delay, distance, origin, destination, flight_date"
LATE = PROJECT / "testdata" / "flights-late"
ONE_MORE = pa.table(
    {
        "date": pa.array([datetime.datetime(2001, 1, 5, 12, 34)], pa.timestamp("us")),
        "delay": pa.array([7], pa.int64()),
        "distance": pa.array([2556], pa.int64()),
        "origin": ["HNL"],
        "destination": ["LAX"],
        "flight_date": pa.array([datetime.date(2001, 1, 5)], pa.date32()),
    }
)


class Checks:
    """Prints and counts what was found."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def that(self, holds: bool, what: str, found: object = "") -> None:
        """One check."""
        self.passed += holds
        self.failed += not holds
        note = f" ({found})" if str(found) else ""
        print(f"{'PASS' if holds else 'FAIL'}  {what}{note}", flush=True)

    @contextlib.contextmanager
    def guarded(self, what: str):
        """A reader that raises fails its check, and the others go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001: whatever a reader throws is its verdict
            self.that(False, what, f"{type(error).__name__}: {error}")


class Duck:
    """A DuckDB with the extensions from PyPI; nothing is fetched, and nothing is left in the home folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.connection = duckdb.connect(config={"extension_directory": str(folder)})
        for extension in ("avro", "httpfs", "iceberg", "delta"):
            import_extension(extension, con=self.connection)
            self.connection.load_extension(extension)

    def count(self, relation: str) -> int:
        """Rows of a table expression."""
        return self.connection.sql(f"SELECT count(*) FROM {relation}").fetchone()[0]

    def differences(self, left: str, right: str) -> int:
        """Rows that one table expression has and the other lacks, as multisets, in both directions."""
        one_way = "SELECT count(*) FROM (SELECT {c} FROM {a} EXCEPT ALL SELECT {c} FROM {b})"
        both = [(left, right), (right, left)]
        return sum(self.connection.sql(one_way.format(c=COLUMNS, a=a, b=b)).fetchone()[0] for a, b in both)

    def files_read(self, query: str) -> int:
        """Data files that a query opens, by DuckDB's own profile."""
        plan = self.connection.sql(f"EXPLAIN ANALYZE {query}").fetchall()[0][1]
        found = re.findall(r"(?:Total Files Read|Scanning Files):\s*(\d+)", plan)
        if not found:
            raise ValueError("the profile names no number of files")
        return sum(int(number) for number in found)


def hive(folder: pathlib.Path) -> str:
    """A Hive table as a DuckDB table expression."""
    return f"read_parquet('{folder}/*/*.parquet', hive_partitioning = true, hive_types = {{'flight_date': DATE}})"


def newest_metadata(table: pathlib.Path) -> pathlib.Path:
    """The metadata file with the highest number, which is the filesystem catalogue's table."""
    files = (table / "metadata").glob("v*.metadata.json")
    return max(files, key=lambda path: int(path.name.split(".")[0][1:]))


def iceberg_readers(checks: Checks, duck: Duck, label: str, source: str, table: pathlib.Path) -> None:
    """pyiceberg and DuckDB read all rows, and fewer files with a filter."""
    metadata = newest_metadata(table)
    rows = duck.count(source)
    where = "origin = 'HNL' AND date < TIMESTAMP '2001-02-01'"
    kept = f"(SELECT * FROM {source} WHERE {where})"

    with checks.guarded(f"{label}: pyiceberg reads the table"):
        static = StaticTable.from_metadata(str(metadata))
        read = static.scan().to_arrow()
        duck.connection.register("by_pyiceberg", read)
        checks.that(read.num_rows == rows, f"{label}: pyiceberg counts as many rows as the source", read.num_rows)
        differing = duck.differences(source, "by_pyiceberg")
        checks.that(differing == 0, f"{label}: pyiceberg reads the source's rows", f"{differing} differing")
        total = len(list(static.scan().plan_files()))
        filtered = static.scan(row_filter="origin == 'HNL' and date < '2001-02-01T00:00:00'")
        files = len(list(filtered.plan_files()))
        checks.that(0 < files < total, f"{label}: pyiceberg prunes partitions", f"{files} of {total} files")
        duck.connection.register("filtered_by_pyiceberg", filtered.to_arrow())
        differing = duck.differences(kept, "filtered_by_pyiceberg")
        checks.that(differing == 0, f"{label}: pyiceberg's pruned scan has the source's rows", f"{differing} differing")

    with checks.guarded(f"{label}: DuckDB reads the Iceberg table"):
        scan = f"iceberg_scan('{metadata}')"
        duck_readers(checks, duck, f"{label}: DuckDB's iceberg_scan", source, scan, where)


def duck_readers(checks: Checks, duck: Duck, label: str, source: str, scan: str, where: str) -> None:
    """DuckDB reads all rows of a scan, and fewer files with a filter."""
    rows, counted = duck.count(source), duck.count(scan)
    checks.that(counted == rows, f"{label} counts as many rows as the source", counted)
    differing = duck.differences(source, scan)
    checks.that(differing == 0, f"{label} reads the source's rows", f"{differing} differing")
    total = duck.files_read(f"SELECT sum(delay) FROM {scan}")
    files = duck.files_read(f"SELECT sum(delay) FROM {scan} WHERE {where}")
    checks.that(0 < files < total, f"{label} prunes partitions", f"{files} of {total} files")
    kept = f"(SELECT * FROM {{}} WHERE {where})"
    differing = duck.differences(kept.format(source), kept.format(scan))
    checks.that(differing == 0, f"{label} has the source's rows with a filter", f"{differing} differing")


def carried_back(checks: Checks, duck: Duck, label: str, migration: Migration, source: str, rows: int) -> None:
    """A rollback takes what others have appended to the new table into the old one."""
    migration.step("rollback")
    duck.connection.register("one_more", ONE_MORE)
    counted, missing = duck.count(source), f"SELECT {COLUMNS} FROM one_more EXCEPT SELECT {COLUMNS} FROM {source}"
    differing = len(duck.connection.sql(missing).fetchall())
    checks.that(counted == rows, f"{label}: a rollback carries the appended row into the old table", counted)
    checks.that(differing == 0, f"{label}: the old table has the appended row's values", f"{differing} differing")


def iceberg_append(checks: Checks, duck: Duck, label: str, migration: Migration, source: str, table: pathlib.Path) -> None:
    """pyiceberg appends a row by a catalogue of its own; then everybody reads one row more, also after a rollback."""
    metadata = newest_metadata(table)
    rows = duck.count(f"iceberg_scan('{metadata}')")
    with checks.guarded(f"{label}: pyiceberg appends"):
        database = migration.root / "pyiceberg.db"
        catalog = SqlCatalog("interop", uri=f"sqlite:///{database}", warehouse=f"file://{migration.root}/warehouse")
        catalog.create_namespace("lake")
        registered = catalog.register_table("lake.flights", f"file://{metadata}")
        registered.append(ONE_MORE.cast(registered.schema().as_arrow()))
        counted = registered.scan().to_arrow().num_rows
        checks.that(counted == rows + 1, f"{label}: pyiceberg appends a row and reads it", counted)
        theirs = pathlib.Path(registered.metadata_location.removeprefix("file://"))
        counted = duck.count(f"iceberg_scan('{theirs}')")
        checks.that(counted == rows + 1, f"{label}: DuckDB reads what pyiceberg appended", counted)

        # Into the filesystem catalogue, as its next version.
        number = int(metadata.name.split(".")[0][1:]) + 1
        shutil.copy(theirs, metadata.with_name(f"v{number}.metadata.json"))
        lakeshift_reads(checks, label, migration, "iceberg", table, rows + 1)
        carried_back(checks, duck, label, migration, source, rows + 1)


def delta_readers(checks: Checks, duck: Duck, label: str, source: str, table: pathlib.Path) -> None:
    """deltalake and DuckDB read all rows, and fewer files with a filter."""
    rows = duck.count(source)
    with checks.guarded(f"{label}: deltalake reads the table"):
        delta = DeltaTable(str(table))
        read = delta.to_pyarrow_table()
        duck.connection.register("by_deltalake", read)
        checks.that(read.num_rows == rows, f"{label}: deltalake counts as many rows as the source", read.num_rows)
        differing = duck.differences(source, "by_deltalake")
        checks.that(differing == 0, f"{label}: deltalake reads the source's rows", f"{differing} differing")
        total, files = len(delta.file_uris()), len(delta.file_uris([("flight_date", "=", "2001-01-05")]))
        checks.that(0 < files < total, f"{label}: deltalake prunes partitions", f"{files} of {total} files")
    with checks.guarded(f"{label}: DuckDB reads the Delta table"):
        where = "flight_date = DATE '2001-01-05'"
        duck_readers(checks, duck, f"{label}: DuckDB's delta_scan", source, f"delta_scan('{table}')", where)


def delta_append(checks: Checks, duck: Duck, label: str, migration: Migration, table: pathlib.Path) -> None:
    """deltalake appends a row to a copy (in place the source would see the file too); then everybody reads one more."""
    copy = table.with_name(f"{table.name}-appended")
    shutil.copytree(table, copy)
    rows = duck.count(f"delta_scan('{copy}')")
    with checks.guarded(f"{label}: deltalake appends"):
        write_deltalake(str(copy), ONE_MORE, mode="append")
        counted = DeltaTable(str(copy)).to_pyarrow_table().num_rows
        checks.that(counted == rows + 1, f"{label}: deltalake appends a row and reads it", counted)
        counted = duck.count(f"delta_scan('{copy}')")
        checks.that(counted == rows + 1, f"{label}: DuckDB reads what deltalake appended", counted)
        lakeshift_reads(checks, label, migration, "delta", copy, rows + 1)


AGAIN = """
apiVersion: lakeshift/v1
name: {name}
control: ../../lake/control
source: {{format: {source}, location: {table}}}
target: {{format: {target}, location: {table}-again}}
cutover: {{alias: {name}}}
"""


def lakeshift_reads(checks: Checks, label: str, after: Migration, source: str, table: pathlib.Path, rows: int) -> None:
    """Lakeshift counts the rows of a table that somebody else has written to, by planning its next migration."""
    target = "delta" if source == "iceberg" else "iceberg"
    text = AGAIN.format(name=f"{after.name}-again", source=source, target=target, table=table)
    reader = Migration(after.lakeshift, after.root, f"{after.name}-again", text)
    answer = json.loads(reader.step("plan", "--dry-run", "--format", "json").stdout)
    counted = sum(totals["rows"] for totals in answer["plan"]["summary"]["by_reason"].values())
    checks.that(counted == rows, f"{label}: Lakeshift reads what was appended", counted)


def january(checks: Checks, duck: Duck, lakeshift: str, root: pathlib.Path) -> None:
    """The test data by both playbooks, with changes of the source meanwhile."""
    for name in ("flights", "flights-daily"):
        shutil.copytree(PROJECT / "testdata" / "flights", root / "lake" / name)
    to_iceberg = Migration(lakeshift, root, "flights-to-iceberg", spec("flights-to-iceberg"))
    to_delta = Migration(lakeshift, root, "flights-to-delta", spec("flights-to-delta"))
    for migration, name in ((to_iceberg, "flights"), (to_delta, "flights-daily")):
        migration.steps(UNTIL_BACKFILL)
        shutil.copytree(LATE, root / "lake" / name, dirs_exist_ok=True)
        migration.steps(SINCE_BACKFILL)
        print(f"      {migration.times()}")
    source = hive(root / "lake" / "flights")
    table = root / "lake" / "flights-iceberg"
    checks.that(duck.count(source) == 525_350, "January and the late files: 525,350 rows in the source")
    iceberg_readers(checks, duck, "January, Iceberg", source, table)
    iceberg_append(checks, duck, "January, Iceberg", to_iceberg, source, table)
    table = root / "lake" / "flights-daily"
    source = hive(table)
    delta_readers(checks, duck, "January, Delta", source, table)
    delta_append(checks, duck, "January, Delta", to_delta, table)


def half_year(checks: Checks, duck: Duck, lakeshift: str, root: pathlib.Path, flights_3m: pathlib.Path) -> None:
    """Half a year and 3,000,000 rows by the same playbooks."""
    days = root / "lake" / "flights-3m"
    rows = write_days(flights_3m, days)
    files = len(list(days.glob("*/*.parquet")))
    # 181 days, and six flights at midnight after the last.
    checks.that((files, rows) == (182, 3_000_000), "flights-3m: 182 days, 3,000,000 rows in the source", f"{files}, {rows}")
    name = "flights-3m-to-iceberg"
    moved = {"lake/flights$": "lake/flights-3m", "lake/flights-iceberg$": "lake/flights-3m-iceberg"}
    sizes = {"unit_size: .*": "unit_size: 4MiB", "target_file_size: .*": "target_file_size: 4MiB"}
    to_iceberg = Migration(lakeshift, root, name, spec("flights-to-iceberg", {**named(name), **moved, **sizes}))
    name = "flights-3m-to-delta"
    moved = {"lake/flights-daily$": "lake/flights-3m"}
    to_delta = Migration(lakeshift, root, name, spec("flights-to-delta", {**named(name), **moved}))
    name = "flights-3m-spliced"
    moved = {"lake/flights$": "lake/flights-3m", "lake/flights-iceberg$": "lake/flights-3m-spliced"}
    monthly = {"    - bucket.*\n": "", "^  unit_size: .*\n": "", "^  target_file_size: .*\n": "  strategy: splice\n"}
    spliced = Migration(lakeshift, root, name, spec("flights-to-iceberg", {**named(name), **moved, **monthly}))
    for migration in (to_iceberg, spliced, to_delta):
        migration.steps(UNTIL_BACKFILL + SINCE_BACKFILL)
        print(f"      {migration.times()}")
    original = f"(SELECT *, date::DATE AS flight_date FROM read_parquet('{flights_3m}'))"
    iceberg_readers(checks, duck, "flights-3m, Iceberg", original, root / "lake" / "flights-3m-iceberg")
    table = root / "lake" / "flights-3m-spliced"
    iceberg_readers(checks, duck, "flights-3m, Iceberg, spliced", original, table)
    files = len(list(table.glob("data/**/*.parquet")))
    checks.that(files == 7, "flights-3m, Iceberg, spliced: one file a month, and one of the six flights after", files)
    delta_readers(checks, duck, "flights-3m, Delta", original, days)


EVOLVED = """
apiVersion: lakeshift/v1
name: evolved-{target}
control: ../../lake/control
source: {{format: iceberg, location: {table}}}
target: {{format: {target}, location: {table}-{target}}}
cutover: {{alias: evolved-{target}}}
"""


def evolved(checks: Checks, lakeshift: str, root: pathlib.Path) -> None:
    """pyiceberg renames, swaps, drops and adds columns, also inside a struct, between two appends: only field ids tell then
    which column of a file is which of the table's."""
    catalog = SqlCatalog("evolved", uri=f"sqlite:///{root}/evolved.db", warehouse=f"file://{root}/evolved")
    catalog.create_namespace("lake")
    pair = [{"u": 1, "v": 2}, {"u": 3, "v": None}]
    table = catalog.create_table("lake.t", first := pa.table({"a": ["x", "y"], "b": ["p", "q"], "s": pair}).schema)
    table.append(pa.table({"a": ["x", "y"], "b": ["p", "q"], "s": pair}, schema=first))
    with table.update_schema() as update:
        update.rename_column("a", "c")
    with table.update_schema() as update:
        update.rename_column("b", "a")
        update.rename_column("s.u", "w")
    with table.update_schema() as update:
        update.delete_column("s.v")
        update.add_column("b", LongType())
        update.add_column(("s", "v"), LongType())
    later = {"c": ["z"], "a": ["r"], "s": [{"w": 7, "v": 8}], "b": [9]}
    table.append(pa.table(later, schema=table.schema().as_arrow()))
    expected = table.scan().to_arrow().to_pylist()
    metadata = pathlib.Path(table.metadata_location.removeprefix("file://"))
    shutil.copy(metadata, metadata.with_name("v1.metadata.json"))
    folder = metadata.parent.parent
    for target in ("delta", "iceberg"):
        migration = Migration(lakeshift, root, f"evolved-{target}", EVOLVED.format(table=folder, target=target))
        migration.steps(UNTIL_BACKFILL + SINCE_BACKFILL)
    by_deltalake = DeltaTable(f"{folder}-delta").to_pyarrow_table()
    by_pyiceberg = StaticTable.from_metadata(str(newest_metadata(pathlib.Path(f"{folder}-iceberg")))).scan().to_arrow()
    for reader, rows in (("Delta: deltalake", by_deltalake), ("Iceberg: pyiceberg", by_pyiceberg)):
        found = rows.to_pylist()
        same = sorted(map(repr, found)) == sorted(map(repr, ({name: row[name] for name in found[0]} for row in expected)))
        checks.that(same, f"evolved Iceberg table, moved to {reader} reads pyiceberg's rows", f"{len(found)} rows")


DELETED = """
apiVersion: lakeshift/v1
name: {name}
control: ../../lake/control
source: {{format: delta, location: {source}}}
target: {{format: iceberg, location: {target}, format_version: {version}, sort: [n], snapshots: {{keep: 5, max_age: 7d}}}}
backfill: {{strategy: adopt}}
cutover: {{alias: {name}}}
"""


def vector(rows: list[int]) -> dict:
    """Delta's inline deletion vector of an even number of rows, of which no two are neighbours (Z85 takes whole words)."""
    data = (1681511377).to_bytes(4, "little") + BitMap64(rows).serialize()
    alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    words = [int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data), 4)]
    text = "".join(alphabet[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))
    return {"storageType": "i", "pathOrInlineDv": text, "sizeInBytes": len(data), "cardinality": len(rows)}


def delete_rows(table: pathlib.Path, version: int, rows: list[int]) -> None:
    """Deletes rows of the table's only file by a deletion vector, as Spark does and deltalake cannot."""
    log = table / "_delta_log"
    lines = [json.loads(line) for one in sorted(log.glob("*.json")) for line in one.read_text().splitlines()]
    add = [line["add"] for line in lines if "add" in line][-1]
    features = ["deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}
    # The log knows a file by its path and its vector.
    of = {"deletionVector": add["deletionVector"]} if add.get("deletionVector") else {}
    remove = {"path": add["path"], "deletionTimestamp": 0, "dataChange": True, **of}
    actions = [{"protocol": protocol}, {"remove": remove}, {"add": {**add, "deletionVector": vector(rows)}}]
    (log / f"{version:020}.json").write_text("\n".join(json.dumps(action) for action in actions))


def deleted(checks: Checks, duck: Duck, lakeshift: str, root: pathlib.Path) -> None:
    """A Delta table with deleted rows is adopted by Iceberg v2 and v3 with its deletes; more rows are deleted meanwhile.
    Then pyiceberg changes the partitioning under the mirror."""
    migrations = {}
    for version in (2, 3):
        name = f"deleted-v{version}"
        source, target = root / "lake" / name, root / "lake" / f"{name}-iceberg"
        write_deltalake(str(source), pa.table({"n": range(100), "text": [f"row {n}" for n in range(100)]}))
        delete_rows(source, 1, [0, 2, 50, 99])
        text = DELETED.format(name=name, source=source, target=target, version=version)
        migration = migrations[version] = Migration(lakeshift, root, name, text)
        migration.steps([*UNTIL_BACKFILL, "backfill"])
        delete_rows(source, 2, [0, 2, 4, 50, 52, 54, 97, 99])
        migration.steps(["mirror", "validate"])
        expected = [n for n in range(100) if n not in {0, 2, 4, 50, 52, 54, 97, 99}]
        label, metadata = f"deleted rows, Iceberg v{version}", newest_metadata(target)
        moved = [path for path in target.rglob("*.parquet") if "deletes" not in path.name]
        checks.that(not moved, f"{label}: no data file was written", len(moved))
        with checks.guarded(f"{label}: pyiceberg reads the table"):
            found = sorted(StaticTable.from_metadata(str(metadata)).scan().to_arrow()["n"].to_pylist())
            checks.that(found == expected, f"{label}: pyiceberg reads what is left", len(found))
        with checks.guarded(f"{label}: DuckDB reads the table"):
            found = duck.connection.sql(f"SELECT n FROM iceberg_scan('{metadata}') ORDER BY n").fetchall()
            checks.that([n for (n,) in found] == expected, f"{label}: DuckDB reads what is left", len(found))
    with checks.guarded("pyiceberg changes a partition spec"):
        catalog = SqlCatalog("respec", uri=f"sqlite:///{root}/respec.db", warehouse=f"file://{root}/respec")
        catalog.create_namespace("lake")
        metadata = newest_metadata(root / "lake" / "deleted-v2-iceberg")
        registered = catalog.register_table("lake.t", f"file://{metadata}")
        with registered.update_spec() as update:
            update.add_field("n", BucketTransform(4), "n_bucket")
        theirs = pathlib.Path(registered.metadata_location.removeprefix("file://"))
        number = int(metadata.name.split(".")[0][1:]) + 1
        shutil.copy(theirs, metadata.with_name(f"v{number}.metadata.json"))
        theirs.unlink()
        delete_rows(root / "lake" / "deleted-v2", 3, [0, 2, 4, 6, 50, 52, 54, 95, 97, 99])
        migrations[2].step("mirror")
        static = StaticTable.from_metadata(str(newest_metadata(root / "lake" / "deleted-v2-iceberg")))
        expected = [n for n in range(100) if n not in {0, 2, 4, 6, 50, 52, 54, 95, 97, 99}]
        found = sorted(static.scan().to_arrow()["n"].to_pylist())
        checks.that(found == expected, "the mirror goes on under the partition spec of its plan", len(found))
        checks.that(static.spec().spec_id == 1, "the table's default partition spec stays as pyiceberg changed it", static.spec())


IN_CATALOGUE = """{table}
  catalog: {{type: sql, uri: "sqlite:///{database}", name: interop, table: lake.{name}}}"""
ONWARD = """
apiVersion: lakeshift/v1
name: {name}
control: ../../lake/control
source: {{format: iceberg, location: {table}, catalog: {{type: sql, uri: "sqlite:///{database}", name: interop, table: lake.{name}}}}}
target: {{format: delta, location: {table}-moved}}
cutover: {{alias: {name}}}
"""


def catalogued(checks: Checks, duck: Duck, lakeshift: str, root: pathlib.Path) -> None:
    """Lakeshift and pyiceberg share a SQLite catalogue, each as the writer of a table that the other reads."""
    database = root / "catalogue.db"
    catalog = SqlCatalog("interop", uri=f"sqlite:///{database}", warehouse=f"file://{root}/warehouse")
    catalog.create_namespace("lake")
    shutil.copytree(PROJECT / "testdata" / "flights", root / "lake" / "flights-shared", dirs_exist_ok=True)
    target = IN_CATALOGUE.format(table="lake/flights-in-catalogue", database=database, name="flights")
    moved = {"lake/flights$": "lake/flights-shared", "lake/flights-iceberg$": target}
    name = "flights-to-catalogue"
    migration = Migration(lakeshift, root, name, spec("flights-to-iceberg", {**named(name), **moved}))
    migration.steps(UNTIL_BACKFILL + SINCE_BACKFILL)
    source = hive(root / "lake" / "flights-shared")
    with checks.guarded("catalogue: pyiceberg loads what Lakeshift has migrated"):
        table = catalog.load_table("lake.flights")
        duck.connection.register("by_catalogue", table.scan().to_arrow())
        rows, differing = duck.count(source), duck.differences(source, "by_catalogue")
        checks.that(differing == 0, "catalogue: pyiceberg reads the source's rows", f"{rows} rows")
        table.append(ONE_MORE.cast(table.schema().as_arrow()))
        carried_back(checks, duck, "catalogue", migration, source, rows + 1)

    made = catalog.create_table("lake.made", ONE_MORE.schema)
    made.append(ONE_MORE)
    made.append(ONE_MORE)
    text = ONWARD.format(name="made", table=made.location().removeprefix("file://"), database=database)
    onward = Migration(lakeshift, root, "made", text)
    onward.steps(UNTIL_BACKFILL)
    made.append(ONE_MORE)
    onward.steps(SINCE_BACKFILL)
    with checks.guarded("catalogue: deltalake reads what came from pyiceberg's table"):
        counted = DeltaTable(f"{made.location().removeprefix('file://')}-moved").to_pyarrow_table().num_rows
        checks.that(counted == 3, "catalogue: pyiceberg's table, moved to Delta with what it appended meanwhile", counted)


def find_flights_3m() -> pathlib.Path | None:
    """The large data set, where there is one."""
    named = os.environ.get("LAKESHIFT_FLIGHTS_3M")
    if named:
        return pathlib.Path(named)
    beside = PROJECT.parent / "shared" / "data" / "flights-3m.parquet"
    return beside if beside.exists() else None


def main() -> None:
    """Runs all checks."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    warnings.filterwarnings("ignore")
    lakeshift, root = str(pathlib.Path(sys.argv[1]).resolve()), scratch(pathlib.Path(sys.argv[2]))
    checks, duck = Checks(), Duck(root / "duckdb-extensions")
    january(checks, duck, lakeshift, root)
    evolved(checks, lakeshift, root)
    deleted(checks, duck, lakeshift, root)
    catalogued(checks, duck, lakeshift, root)
    flights_3m = find_flights_3m()
    if flights_3m:
        half_year(checks, duck, lakeshift, root, flights_3m)
    else:
        print("SKIPPED  flights-3m: set LAKESHIFT_FLIGHTS_3M to flights-3m.parquet")
    print(f"interop: {checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()
