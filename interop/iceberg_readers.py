"""Reads an Iceberg table that Lakeshift wrote with other people's readers, and says whether they agree.

usage: iceberg_readers.py METADATA_JSON [--append-in FOLDER]

Needs pyiceberg[pyarrow,sql-sqlite], duckdb and its extensions avro and iceberg (duckdb-extensions on PyPI). Rows are
compared as a multiset between pyiceberg and DuckDB. With --append-in, the table is registered in a SQLite catalogue
there and one row is appended to it; the new metadata file is printed, for Lakeshift to read.
"""

import argparse
import collections
import datetime
import decimal
import pathlib

import duckdb
import duckdb_extensions
import pyarrow
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable


def canonical(value):
    """One spelling of a value, so that rows of two readers can be compared and hashed."""
    if isinstance(value, dict) and set(value) == {"key", "value"}:
        value = list(zip(value["key"], value["value"]))
    if isinstance(value, dict):
        return tuple((key, canonical(member)) for key, member in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(canonical(member) for member in value)
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time, decimal.Decimal)):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else value


def multiset(table):
    return collections.Counter(tuple(canonical(row[name]) for name in table.column_names) for row in maps_as_pairs(table))


def maps_as_pairs(table):
    return table.to_pylist(maps_as_pydicts="strict")


def with_duckdb(metadata):
    connection = duckdb.connect()
    for extension in ("avro", "iceberg"):
        duckdb_extensions.import_extension(extension, con=connection)
        connection.load_extension(extension)
    connection.execute("SET TimeZone = 'UTC'")
    return connection.execute("SELECT * FROM iceberg_scan(?)", [metadata]).to_arrow_table()


def append(metadata, folder):
    """Appends one row of nulls and defaults by pyiceberg; returns the new metadata file."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    catalog = SqlCatalog("interop", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace_if_not_exists("lake")
    table = catalog.register_table("lake.migrated", metadata)
    schema = table.schema().as_arrow()
    row = {field.name: None if field.nullable else pyarrow.scalar(999).cast(field.type).as_py() for field in schema}
    before = table.scan().to_arrow().num_rows
    table.append(pyarrow.Table.from_pylist([row], schema=schema))
    after = catalog.load_table("lake.migrated")
    assert after.scan().to_arrow().num_rows == before + 1, "the appended row is missing"
    return after.metadata_location


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metadata")
    parser.add_argument("--append-in")
    arguments = parser.parse_args()
    theirs = StaticTable.from_metadata(arguments.metadata).scan().to_arrow()
    duck = with_duckdb(arguments.metadata)
    assert theirs.column_names == duck.column_names, (theirs.column_names, duck.column_names)
    ours, others = multiset(theirs), multiset(duck)
    for row in list((ours - others)) + list((others - ours)):
        print("differs:", row)
    assert ours == others, "pyiceberg and DuckDB do not read the same rows"
    print(f"pyiceberg and DuckDB agree on {theirs.num_rows} rows of {len(theirs.column_names)} columns")
    for row in theirs.to_pylist():
        print("  ", row)
    if arguments.append_in:
        print("appended:", append(arguments.metadata, arguments.append_in))


if __name__ == "__main__":
    main()
