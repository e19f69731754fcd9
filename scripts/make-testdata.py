#!/usr/bin/env python3
"""Writes testdata/flights and testdata/flights-late from flights-3m.parquet, the same bytes at every run.

The source holds 3,000,000 flights of January to June 2001 (testdata/README.md says where they come from). This script
takes every flight of January, adds nothing and leaves nothing out:

  testdata/flights/flight_date=2001-01-DD/part-0.parquet        January, one Hive partition a day
  testdata/flights-late/flight_date=2001-02-01/part-0.parquet   a day that is not there yet: the demo adds it
  testdata/flights-late/flight_date=2001-01-05/part-1.parquet   late flights of an old day: the demo adds them

  testdata/flights-damaged/flight_date=2001-01-05/part-1.parquet   the late flights with one delay changed by a minute,
                                                                and of the same size in bytes: the demo lays it over
                                                                the true file to show a validation that fails

The late flights of 5 January are those from HNL (Honolulu); they stand in flights-late only, and part-0 of that
day lacks them. So January is complete when both folders are put together.

The files' rows are sorted by origin, destination and time, which makes them a fifth smaller than in order of time.
The directory alone holds `flight_date`, as Hive has it.

Usage: make-testdata.py FLIGHTS_3M_PARQUET [OUT_FOLDER]
Needs pyarrow (scripts/requirements.txt; `make venv` installs it).
"""

import datetime
import pathlib
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        pa.field("date", pa.timestamp("us"), nullable=True),
        pa.field("delay", pa.int64(), nullable=True),
        pa.field("distance", pa.int64(), nullable=True),
        pa.field("origin", pa.string(), nullable=True),
        pa.field("destination", pa.string(), nullable=True),
    ]
)
ORDER = [(name, "ascending") for name in ("origin", "destination", "date", "delay", "distance")]
NEW_DAY = datetime.date(2001, 2, 1)
LATE_DAY = datetime.date(2001, 1, 5)
LATE_ORIGIN = "HNL"


def day_of(table: pa.Table, day: datetime.date) -> pa.Table:
    """The flights that left on a day."""
    start = datetime.datetime.combine(day, datetime.time())
    end = start + datetime.timedelta(days=1)
    return table.filter(pc.and_(pc.greater_equal(table["date"], start), pc.less(table["date"], end)))


def write(table: pa.Table, folder: pathlib.Path, day: datetime.date, name: str) -> int:
    """Writes one file of a day's partition; returns its size in bytes."""
    path = folder / f"flight_date={day.isoformat()}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.sort_by(ORDER), path, compression="zstd", compression_level=19, store_schema=False)
    return path.stat().st_size


def damaged(table: pa.Table, folder: pathlib.Path, day: datetime.date, name: str, size: int) -> int:
    """Writes the table with one delay a minute longer, of the first row where the file's size stays; returns the row."""
    table = table.sort_by(ORDER)
    column = table.schema.get_field_index("delay")
    delays = table["delay"].to_pylist()
    for row, delay in enumerate(delays):
        changed = pa.array([*delays[:row], delay + 1, *delays[row + 1 :]], SCHEMA.field("delay").type)
        if write(table.set_column(column, SCHEMA.field("delay"), changed), folder, day, name) == size:
            return row
    sys.exit("no single change keeps the file's size; choose other late flights")


def main() -> None:
    """Reads the source and writes both folders."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[2] if len(sys.argv) == 3 else pathlib.Path(__file__).parent.parent / "testdata")
    source = pq.read_table(sys.argv[1], columns=SCHEMA.names).cast(SCHEMA)
    rows = size = 0
    for offset in range(31):
        day = datetime.date(2001, 1, 1) + datetime.timedelta(days=offset)
        flights = day_of(source, day)
        if day == LATE_DAY:
            late = pc.equal(flights["origin"], LATE_ORIGIN)
            size_late = write(flights.filter(late), out / "flights-late", day, "part-1.parquet")
            row = damaged(flights.filter(late), out / "flights-damaged", day, "part-1.parquet", size_late)
            print(f"damaged: row {row} of the late flights")
            print(f"late flights of {day}: {flights.filter(late).num_rows} rows, {size_late} bytes")
            flights = flights.filter(pc.invert(late))
        rows += flights.num_rows
        size += write(flights, out / "flights", day, "part-0.parquet")
    print(f"January 2001: {rows} rows in 31 files, {size} bytes")
    new = day_of(source, NEW_DAY)
    print(f"{NEW_DAY}: {new.num_rows} rows, {write(new, out / 'flights-late', NEW_DAY, 'part-0.parquet')} bytes")


if __name__ == "__main__":
    main()
