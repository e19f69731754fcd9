#!/usr/bin/env python3
"""TPC-H lineitem as tables to compare: as tpchgen writes it, and partitioned by the month of l_shipdate.

`old` is a folder of Parquet files (a Hive table without partitions, one file for each unit of the scale factor). `new` holds
the same rows, written by DuckDB in folders month=YYYY-MM and registered by pyiceberg as an Iceberg table partitioned by
month(l_shipdate). So Lakeshift has written neither. `parts` holds the rows of `new` in files of a third of a month, without
partitions, and `days` in one file for each day. Made once a folder: what a finished run left is kept.

Usage: lineitem.py FOLDER SCALE_FACTOR [parts | days], or lineitem.py drop-row FILE
"""

import os
import pathlib
import shutil
import subprocess
import sys

COLUMNS = {
    "l_orderkey": "long",
    "l_partkey": "long",
    "l_suppkey": "long",
    "l_linenumber": "int",
    "l_quantity": "decimal",
    "l_extendedprice": "decimal",
    "l_discount": "decimal",
    "l_tax": "decimal",
    "l_returnflag": "string",
    "l_linestatus": "string",
    "l_shipdate": "date",
    "l_commitdate": "date",
    "l_receiptdate": "date",
    "l_shipinstruct": "string",
    "l_shipmode": "string",
    "l_comment": "string",
}
# Files that a month has in `parts`.
SHARES = 3


def old_folder(folder: pathlib.Path) -> pathlib.Path:
    """The unpartitioned table."""
    return folder / "old"


def new_folder(folder: pathlib.Path) -> pathlib.Path:
    """The partitioned table."""
    return folder / "new"


def parts_folder(folder: pathlib.Path) -> pathlib.Path:
    """The unpartitioned table of many files."""
    return folder / "parts"


def days_folder(folder: pathlib.Path) -> pathlib.Path:
    """The unpartitioned table of a file a day."""
    return folder / "days"


def files(folder: pathlib.Path) -> dict[str, list[str]]:
    """The data files of either side."""
    return {
        "old": sorted(map(str, old_folder(folder).glob("*.parquet"))),
        "new": sorted(map(str, (new_folder(folder) / "data").glob("month=*/*.parquet"))),
    }


def once(target: pathlib.Path, make) -> None:
    """Has `make` fill a folder that is renamed to `target` when it is whole."""
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    make(part)
    part.rename(target)


def write_old(part: pathlib.Path, scale: int) -> None:
    """Runs tpchgen-cli of this environment."""
    tpchgen = pathlib.Path(sys.executable).with_name("tpchgen-cli")
    how = ["--tables", "lineitem", "--parts", str(scale), "--compression", "ZSTD(1)"]
    subprocess.run([tpchgen, "parquet", "-q", "-s", str(scale), *how, "--output-dir", part], check=True)
    for file in (part / "lineitem").iterdir():
        file.rename(part / file.name)
    (part / "lineitem").rmdir()


def write_new(part: pathlib.Path, folder: pathlib.Path) -> None:
    """Has DuckDB divide the rows by month."""
    import duckdb

    connection = duckdb.connect(config={"threads": os.cpu_count(), "preserve_insertion_order": False})
    connection.execute(f"SET temp_directory = '{part}.spill'")
    query = f"SELECT *, strftime(l_shipdate, '%Y-%m') AS month FROM read_parquet({files(folder)['old']})"
    how = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARTITION_BY (month)"
    connection.execute(f"COPY ({query}) TO '{part / 'data'}' ({how})")


def register(folder: pathlib.Path) -> None:
    """Has pyiceberg make an Iceberg table of the files that DuckDB wrote."""
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import MonthTransform
    from pyiceberg.types import DateType, DecimalType, IntegerType, LongType, NestedField, StringType

    metadata = new_folder(folder) / "metadata"
    # The name that says, without a catalogue, which metadata file is the table.
    table_file = metadata / "v1.metadata.json"
    if table_file.exists():
        return
    shutil.rmtree(metadata, ignore_errors=True)
    types = {
        "long": LongType(),
        "int": IntegerType(),
        "decimal": DecimalType(15, 2),
        "date": DateType(),
        "string": StringType(),
    }
    fields = [NestedField(number, name, types[kind]) for number, (name, kind) in enumerate(COLUMNS.items(), 1)]
    shipped = list(COLUMNS).index("l_shipdate") + 1
    spec = PartitionSpec(PartitionField(shipped, 1000, MonthTransform(), "l_shipdate_month"))
    catalog = SqlCatalog("bench", uri="sqlite:///:memory:", warehouse=f"file://{folder}")
    catalog.create_namespace("bench")
    table = catalog.create_table("bench.lineitem", Schema(*fields), f"file://{new_folder(folder)}", spec)
    table.add_files([f"file://{path}" for path in files(folder)["new"]], check_duplicate_files=False)
    newest = max(metadata.glob("*.metadata.json"), key=lambda path: path.name)
    shutil.copyfile(newest, table_file)


def write_parts(part: pathlib.Path, folder: pathlib.Path) -> None:
    """Divides every month into files of about equal size."""
    import pyarrow.parquet as pq

    for month in sorted((new_folder(folder) / "data").iterdir()):
        rows = pq.ParquetDataset(month, partitioning=None).read()
        share = -(-rows.num_rows // SHARES)
        for number in range(SHARES):
            path = part / f"{month.name.removeprefix('month=')}-{number}.parquet"
            pq.write_table(rows.slice(number * share, share), path, compression="zstd", compression_level=1)


def write_days(part: pathlib.Path, folder: pathlib.Path) -> None:
    """Divides every month by day."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for month in sorted((new_folder(folder) / "data").iterdir()):
        rows = pq.ParquetDataset(month, partitioning=None).read().sort_by("l_shipdate")
        start = 0
        for day in pc.value_counts(rows["l_shipdate"]).to_pylist():
            path = part / f"{day['values'].isoformat()}.parquet"
            pq.write_table(rows.slice(start, day["counts"]), path, compression="zstd", compression_level=1)
            start += day["counts"]


def drop_row(path: pathlib.Path) -> None:
    """Replaces a file by one that lacks its first row. Other links to the file keep all rows."""
    import pyarrow.parquet as pq

    other = path.with_name(f"_{path.name}")
    pq.write_table(pq.read_table(path).slice(1), other, compression="zstd", compression_level=1)
    other.rename(path)


def main() -> None:
    """Makes the tables."""
    if len(sys.argv) == 3 and sys.argv[1] == "drop-row":
        return drop_row(pathlib.Path(sys.argv[2]))
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["parts"], ["days"]):
        sys.exit(__doc__)
    folder, scale = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])
    once(old_folder(folder), lambda part: write_old(part, scale))
    once(new_folder(folder), lambda part: write_new(part, folder))
    register(folder)
    if sys.argv[3:] == ["parts"]:
        once(parts_folder(folder), lambda part: write_parts(part, folder))
    if sys.argv[3:] == ["days"]:
        once(days_folder(folder), lambda part: write_days(part, folder))


if __name__ == "__main__":
    main()
