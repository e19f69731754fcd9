#!/usr/bin/env python3
"""Apache Spark writes tables as its users do, Lakeshift migrates them, Spark reads the result and goes on writing to it.

Sources: Iceberg v2 and v3 with row-level deletes, updates, merges, renamed and added columns and another partitioning; Delta
with deletion vectors and column mapping; Hudi copy-on-write and merge-on-read with upserts and deletes. Each goes to Iceberg
and to Delta. Rows are compared by Spark's own EXCEPT ALL, in both directions, against what Spark reads of the source.

Usage: interop_spark.py LAKESHIFT_BINARY SCRATCH_FOLDER JARS_FOLDER
Prints PASS or FAIL for each check; the exit code is 1 if one failed.
"""

import pathlib
import sys

from playbook import SINCE_BACKFILL, UNTIL_BACKFILL, Migration, scratch
from pyspark.sql import DataFrame, SparkSession

SPEC = """\
apiVersion: lakeshift/v1
name: {name}
control: {root}/control
source: {{format: {source}, location: {folder}}}
target: {{format: {target}, location: {moved}}}
cutover: {{alias: {name}}}
"""
ICEBERG = "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
DELTA = "io.delta.sql.DeltaSparkSessionExtension"
ROWS = """
SELECT id, concat('name ', id) AS name, CAST(id * 1.5 AS DOUBLE) AS amount, CAST(id AS DECIMAL(12, 2)) AS price,
  timestamp_micros(978307200000000 + id * 3600000000) AS at, date_add(DATE '2001-01-01', CAST(id % 5 AS INT)) AS day,
  IF(id % 7 = 0, NULL, CAST(id % 3 AS INT)) AS kind, array(id, NULL) AS list, named_struct('u', id, 'v', 'x') AS pair,
  map('k', id) AS tags
FROM range({first}, {end})
"""


def session(root: pathlib.Path, jars: pathlib.Path, extensions: list[str]) -> SparkSession:
    """A Spark of two threads that knows all three formats; `lake` is Iceberg's filesystem catalogue over the scratch folder."""
    settings = {
        "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
        "spark.sql.extensions": ",".join(extensions),
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.catalog.lake.warehouse": f"file://{root}/lake",
        "spark.sql.catalog.lake.cache-enabled": "false",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.kryo.registrator": "org.apache.spark.HoodieSparkKryoRegistrar",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": f"{root}/warehouse",
        "spark.driver.memory": "2g",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("lakeshift")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


class Spark:
    """Sources and checks by one Spark session."""

    def __init__(self, root: pathlib.Path, jars: pathlib.Path) -> None:
        self.root = root
        self.jars = jars
        self.passed = 0
        self.failed = 0

    def start(self, extensions: list[str]) -> None:
        """A new session: Iceberg's extension, and Hudi's, break Delta's UPDATE."""
        if hasattr(self, "spark"):
            self.spark.stop()
        self.spark = session(self.root, self.jars, extensions)

    def sql(self, *statements: str) -> None:
        """Runs statements."""
        for statement in statements:
            self.spark.sql(statement)

    def that(self, holds: bool, what: str, found: object = "") -> None:
        """One check."""
        self.passed += holds
        self.failed += not holds
        note = f" ({found})" if str(found) else ""
        print(f"{'PASS' if holds else 'FAIL'}  Spark: {what}{note}", flush=True)

    def iceberg(self, version: int) -> tuple[str, DataFrame]:
        """An Iceberg table as its users have them after a while; its folder's name and its rows."""
        name = f"iceberg_v{version}"
        table = f"lake.db.{name}"
        merge_on_read = ", ".join(f"'write.{verb}.mode' = 'merge-on-read'" for verb in ("delete", "update", "merge"))
        self.sql(
            f"CREATE TABLE {table} USING iceberg PARTITIONED BY (days(at)) "
            f"TBLPROPERTIES ('format-version' = '{version}', {merge_on_read}) AS {ROWS.format(first=0, end=200)}",
            f"DELETE FROM {table} WHERE id % 10 = 3",
            f"UPDATE {table} SET name = NULL WHERE id % 10 = 4",
            f"ALTER TABLE {table} RENAME COLUMN name TO title",
            f"ALTER TABLE {table} ADD COLUMN note STRING",
            f"ALTER TABLE {table} ALTER COLUMN kind TYPE BIGINT",
            f"ALTER TABLE {table} REPLACE PARTITION FIELD days(at) WITH bucket(4, id)",
            f"INSERT INTO {table} SELECT *, 'later' AS note FROM ({ROWS.format(first=200, end=260)})",
            f"MERGE INTO {table} t USING (SELECT id FROM range(190, 210)) s ON t.id = s.id "
            "WHEN MATCHED AND t.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET t.note = 'merged'",
        )
        return f"db/{name}", self.spark.table(table)

    def delta(self) -> tuple[str, DataFrame]:
        """A Delta table with deletion vectors, and columns under other names than in its files."""
        folder = self.root / "lake" / "db" / "delta"
        table = f"delta.`{folder}`"
        self.spark.sql(ROWS.format(first=0, end=200)).write.format("delta").partitionBy("day").save(str(folder))
        self.sql(
            f"ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true', "
            "'delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '3', 'delta.minWriterVersion' = '7')",
            f"DELETE FROM {table} WHERE id % 10 = 3",
            f"ALTER TABLE {table} RENAME COLUMN name TO title",
            f"ALTER TABLE {table} ADD COLUMNS (note STRING)",
            f"UPDATE {table} SET note = 'updated' WHERE id % 10 = 4",
            f"MERGE INTO {table} t USING (SELECT id FROM range(190, 210)) s ON t.id = s.id "
            "WHEN MATCHED AND t.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET t.note = 'merged'",
        )
        return "db/delta", self.spark.read.format("delta").load(str(folder))

    def hudi(self, kind: str) -> tuple[str, DataFrame]:
        """A Hudi table with upserts and deletes, some of them in log files where its kind has any."""
        name = f"hudi_{kind.lower()}"
        folder = self.root / "lake" / "db" / name
        options = {
            "hoodie.table.name": name,
            "hoodie.datasource.write.table.type": kind,
            "hoodie.datasource.write.recordkey.field": "id",
            "hoodie.datasource.write.precombine.field": "at",
            "hoodie.datasource.write.partitionpath.field": "day",
            "hoodie.datasource.write.hive_style_partitioning": "true",
            "hoodie.metadata.enable": "false",
            "hoodie.compact.inline": "false",
        }

        def write(query: str, operation: str, mode: str) -> None:
            writer = self.spark.sql(query).write.format("hudi").options(**options)
            writer.option("hoodie.datasource.write.operation", operation).mode(mode).save(str(folder))

        def made(first: int, end: int) -> str:
            # Hudi's writer takes no NULL in a list.
            return ROWS.format(first=first, end=end).replace("array(id, NULL)", "array(id, 0)")

        rows = made(0, 200)
        write(rows, "bulk_insert", "overwrite")
        changed = f"SELECT id, 'changed' AS name, amount, price, at + INTERVAL 1 HOUR AS at, day, kind, list, pair, tags FROM ({rows})"
        write(f"{changed} WHERE id % 10 = 4", "upsert", "append")
        write(f"SELECT * FROM ({rows}) WHERE id % 10 = 3", "delete", "append")
        write(made(200, 220), "upsert", "append")
        frame = self.spark.read.format("hudi").load(str(folder))
        return f"db/{name}", frame.drop(*[column for column in frame.columns if column.startswith("_hoodie_")])

    def moved(self, target: str, folder: pathlib.Path) -> tuple[str, DataFrame]:
        """A migrated table as Spark names it, and its rows."""
        if target == "iceberg":
            name = f"lake.{folder.parent.name}.{folder.name}"
            return name, self.spark.table(name)
        return f"delta.`{folder}`", self.spark.read.format("delta").load(str(folder))

    def differing(self, old: DataFrame, new: DataFrame) -> int:
        """Rows that one has and the other lacks, as multisets. Maps, which Spark cannot compare, as lists of entries."""
        columns = [f"map_entries({c}) AS {c}" if c == "tags" else f"`{c}`" for c in old.columns]
        old, new = old.selectExpr(*columns), new.selectExpr(*columns)
        return old.exceptAll(new).count() + new.exceptAll(old).count()

    def migrate(self, lakeshift: str, source: str, folder: str, old: DataFrame, target: str) -> None:
        """Migrates one table and checks what Spark makes of it."""
        name = f"{pathlib.Path(folder).name}-to-{target}".replace("_", "-")
        moved = self.root / "lake" / "moved" / name.replace("-", "_")
        text = SPEC.format(
            name=name, root=self.root, source=source, folder=self.root / "lake" / folder, target=target, moved=moved
        )
        try:
            migration = Migration(lakeshift, self.root, name, text)
            migration.steps(UNTIL_BACKFILL + SINCE_BACKFILL)
            table, new = self.moved(target, moved)
            differing = self.differing(old, new)
            self.that(differing == 0, f"{name} has the source's rows", f"{new.count()} rows, {differing} differing")
            before = new.count()
            columns = ", ".join(f"`{column}`" for column in new.columns)
            self.sql(f"INSERT INTO {table} SELECT {columns} FROM {table} WHERE id < 10", f"DELETE FROM {table} WHERE id = 5")
            after = self.moved(target, moved)[1].count()
            expected = before + self.moved_count(old, "id < 10") - 2 * self.moved_count(old, "id = 5")
            self.that(after == expected, f"{name} can be written to", f"{after} rows after an INSERT and a DELETE")
        except (SystemExit, Exception) as error:  # noqa: BLE001: whatever goes wrong is this check's verdict
            self.that(False, name, str(error)[:2000])

    @staticmethod
    def moved_count(rows: DataFrame, condition: str) -> int:
        """Rows under a condition."""
        return rows.where(condition).count()


def main() -> None:
    """Runs all checks."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    lakeshift, root = str(pathlib.Path(sys.argv[1]).resolve()), scratch(pathlib.Path(sys.argv[2]))
    spark = Spark(root, pathlib.Path(sys.argv[3]))
    sources = [
        ([DELTA], "delta", spark.delta),
        ([DELTA], "hudi", lambda: spark.hudi("COPY_ON_WRITE")),
        ([DELTA], "hudi", lambda: spark.hudi("MERGE_ON_READ")),
    ]
    for extensions, source, write in sources:
        try:
            spark.start(extensions)
            folder, rows = write()
        except Exception as error:  # noqa: BLE001: the others go on
            spark.that(False, f"{source}: the source is written", str(error)[:2000])
            continue
        for target in ("iceberg", "delta"):
            spark.migrate(lakeshift, source, folder, rows, target)
    print(f"Spark: {spark.passed} passed, {spark.failed} failed")
    sys.exit(1 if spark.failed else 0)


if __name__ == "__main__":
    main()
