#!/usr/bin/env python3
"""What others take to read or compare the tables of lineitem.py; one job a process, so that each has its own peak of memory.

- `hash`: DuckDB's count and sum(hash(all columns)) by month of either side, compared. Not sound: 64 bits and no key.
- `except`: DuckDB's EXCEPT ALL in both directions, which is sound.
- `decode`: pyarrow decodes either side and looks at no value.

Usage: peers.py JOB FOLDER THREADS
The exit code is 1 where the sides differ.
"""

import pathlib
import sys

from lineitem import COLUMNS, files


def duck(folder: pathlib.Path, threads: int):
    """A DuckDB of so many threads, and either side as a table expression."""
    import duckdb

    connection = duckdb.connect(config={"threads": threads, "preserve_insertion_order": False})
    connection.execute(f"SET temp_directory = '{folder}/spill'")
    return connection, [f"read_parquet({paths}, hive_partitioning = false)" for paths in files(folder).values()]


def hashed(folder: pathlib.Path, threads: int) -> bool:
    """Whether the sums agree."""
    connection, sides = duck(folder, threads)
    query = "SELECT date_trunc('month', l_shipdate) AS month, count(*), sum(hash({})) FROM {} GROUP BY month ORDER BY month"
    old, new = (connection.sql(query.format(", ".join(COLUMNS), side)).fetchall() for side in sides)
    return old == new and len(old) > 0


def excepted(folder: pathlib.Path, threads: int) -> bool:
    """Whether neither side has a row that the other lacks."""
    connection, (old, new) = duck(folder, threads)
    query = "SELECT count(*) FROM (SELECT {c} FROM {a} EXCEPT ALL SELECT {c} FROM {b})"
    ways = ((old, new), (new, old))
    return all(connection.sql(query.format(c=", ".join(COLUMNS), a=a, b=b)).fetchone() == (0,) for a, b in ways)


def decoded(folder: pathlib.Path, threads: int) -> bool:
    """Whether both sides have as many rows."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    pa.set_cpu_count(threads)
    sides = [ds.dataset(paths, format="parquet").scanner(columns=list(COLUMNS)) for paths in files(folder).values()]
    old, new = (sum(batch.num_rows for batch in side.to_batches()) for side in sides)
    return old == new > 0


def main() -> None:
    """Runs one job."""
    jobs = {"hash": hashed, "except": excepted, "decode": decoded}
    if len(sys.argv) != 4 or sys.argv[1] not in jobs:
        sys.exit(__doc__)
    if not jobs[sys.argv[1]](pathlib.Path(sys.argv[2]).resolve(), int(sys.argv[3])):
        sys.exit("the sides differ")


if __name__ == "__main__":
    main()
