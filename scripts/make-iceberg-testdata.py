"""Iceberg tables that Spark wrote, for tests: testdata/iceberg/*.tar.zst.

    ~/.cache/lakeshift/spark/venv/bin/python scripts/make-iceberg-testdata.py

Needs Java 17, PySpark 3.5 and iceberg-spark-runtime-3.5_2.12 (LAKESHIFT_SPARK: the folder with `jars`), and `tar` and `zstd`.
An Iceberg table names its files by absolute paths: the tables lie below /tmp/lakeshift_test, and the tests serve that URL
from memory.

Each archive holds a table's folder and `expected/<state>/`, plain Parquet of what Spark reads: of the last state, of those
at tags, of the branch. `states.json` tells the metadata file of each, so that a test can let the states come one by one.
"""

import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys

import py4j.java_gateway
import py4j.protocol
from pyspark.sql import SparkSession

ROOT = pathlib.Path("/tmp/lakeshift_test")
HERE = pathlib.Path(__file__).resolve().parent.parent
JARS = pathlib.Path(os.environ.get("LAKESHIFT_SPARK", pathlib.Path.home() / ".cache/lakeshift/spark")) / "jars"

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.jars", next(str(jar) for jar in JARS.glob("iceberg-spark-runtime-3.5_2.12-*.jar")))
    .config("spark.driver.memory", "1g")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
    .config("spark.sql.catalog.c", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.c.type", "hadoop")
    .config("spark.sql.catalog.c.warehouse", str(ROOT.parent))
    .config("spark.sql.catalog.c.cache-enabled", "false")
    # It keeps equality deletes whatever columns they were read for: with it Spark showed deleted rows again.
    .config("spark.sql.iceberg.executor-cache.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


class Long(int):
    """A number that arrives in Java as a Long, however small."""


def command_part(parameter, pool=None, plain=py4j.protocol.get_command_part):
    return f"{py4j.protocol.LONG_TYPE}{int(parameter)}\n" if isinstance(parameter, Long) else plain(parameter, pool)


py4j.java_gateway.get_command_part = command_part
jvm, gateway = spark._jvm, spark.sparkContext._gateway


class Table:
    def __init__(self, name, columns, partitioned, properties):
        self.name, self.full, self.folder = name, f"c.{ROOT.name}.{name}", ROOT / name
        self.states = {}
        shutil.rmtree(ROOT, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        pairs = ", ".join(f"'{key}'='{value}'" for key, value in properties.items())
        spark.sql(f"CREATE TABLE {self.full} ({columns}) USING iceberg {partitioned} TBLPROPERTIES ({pairs})")

    def sql(self, text):
        spark.sql(text.replace("TABLE!", self.full))

    def insert(self, rows, reference=""):
        values = ", ".join(rows)
        spark.sql(f"INSERT INTO {self.full}{reference} SELECT * FROM VALUES {values}")

    def java(self):
        identifier = jvm.org.apache.iceberg.catalog.TableIdentifier.parse(f"{ROOT.name}.{self.name}")
        conf = spark.sparkContext._jsc.hadoopConfiguration()
        return jvm.org.apache.iceberg.hadoop.HadoopCatalog(conf, str(ROOT.parent)).loadTable(identifier)

    def equality_delete(self, columns, rows, partition=None):
        """A file of equality deletes, in the partition `partition` (a function of a row of the table), in one commit."""
        table = self.java()
        schema = table.schema().select(gateway.new_array(jvm.String, 0) if not columns else to_array(columns))
        ids = gateway.new_array(jvm.int, len(columns))
        for at, column in enumerate(columns):
            ids[at] = table.schema().findField(column).fieldId()
        factory = jvm.org.apache.iceberg.data.GenericAppenderFactory(table.schema(), table.spec(), ids, schema, None)
        key = None
        if partition is not None:
            record = jvm.org.apache.iceberg.data.GenericRecord.create(table.schema())
            for column, value in partition.items():
                record.setField(column, value)
            key = jvm.org.apache.iceberg.PartitionKey(table.spec(), table.schema())
            key.partition(jvm.org.apache.iceberg.data.InternalRecordWrapper(table.schema().asStruct()).wrap(record))
        files = jvm.org.apache.iceberg.io.OutputFileFactory.builderFor(table, 1, len(self.states) + 1)
        files = files.format(jvm.org.apache.iceberg.FileFormat.PARQUET).build()
        out = files.newOutputFile(table.spec(), key) if key is not None else files.newOutputFile()
        writer = factory.newEqDeleteWriter(out, jvm.org.apache.iceberg.FileFormat.PARQUET, key)
        for row in rows:
            record = jvm.org.apache.iceberg.data.GenericRecord.create(schema)
            for column, value in zip(columns, row):
                record.setField(column, Long(value) if isinstance(value, int) else value)
            writer.write(record)
        writer.close()
        table.newRowDelta().addDeletes(writer.toDeleteFile()).commit()

    def state(self, name, rows, read=""):
        """Remembers the table as it is, and what Spark reads of it; `rows` is what must be left, counted by hand."""
        hint = (self.folder / "metadata/version-hint.text").read_text().strip()
        self.states[name] = int(hint)
        frame = spark.sql(f"SELECT * FROM {self.full}{read}")
        # Not `frame.count()`: Iceberg may answer it from metadata, equality deletes uncounted.
        frame.coalesce(1).write.mode("overwrite").parquet(str(ROOT / "expected" / name))
        found = spark.read.parquet(str(ROOT / "expected" / name)).count()
        assert found == rows, f"{self.name} {name}: {found} rows"
        print(f"{self.name} {name}: v{hint}, {found} rows", file=sys.stderr)

    def pack(self):
        for crc in ROOT.rglob(".*.crc"):
            crc.unlink()
        for marker in ROOT.rglob("_SUCCESS"):
            marker.unlink()
        (ROOT / "states.json").write_text(json.dumps(self.states))
        to = HERE / "testdata/iceberg" / f"{self.name}.tar.zst"
        to.parent.mkdir(exist_ok=True)
        tar = subprocess.run(["tar", "-c", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "-C", str(ROOT), "."],
                             check=True, capture_output=True).stdout
        subprocess.run(["zstd", "-q", "-19", "-f", "-o", str(to)], input=tar, check=True)
        print(f"{to}: {to.stat().st_size} bytes", file=sys.stderr)


def to_array(texts):
    array = gateway.new_array(jvm.String, len(texts))
    for at, text in enumerate(texts):
        array[at] = text
    return array


def flight(number, origin, delay):
    at = datetime.datetime(2001, 1, 1) + datetime.timedelta(minutes=37 * number)
    return f"(TIMESTAMP_NTZ '{at}', '{origin}', {'CAST(NULL AS BIGINT)' if delay is None else f'{delay}L'}, {number}L)"


def flights(numbers):
    return [flight(n, ("ATL", "ORD", "SFO")[n % 3], None if n % 10 == 7 else n % 10) for n in numbers]


COLUMNS = "at TIMESTAMP_NTZ, origin STRING, delay BIGINT, number BIGINT"
MERGE_ON_READ = {"write.delete.mode": "merge-on-read", "write.update.mode": "merge-on-read", "write.merge.mode": "merge-on-read"}


def version_two():
    """Positional deletes of one file and of whole partitions, equality deletes of values and of nulls, evolution."""
    table = Table("deletes_v2", COLUMNS, "PARTITIONED BY (origin)", {"format-version": "2", **MERGE_ON_READ})
    table.insert(flights(range(0, 30)))
    table.insert(flights(range(30, 60)))
    table.state("inserted", 60)
    table.sql("DELETE FROM TABLE! WHERE number IN (0, 3, 4, 31, 59)")
    table.sql("ALTER TABLE TABLE! SET TBLPROPERTIES ('write.delete.granularity'='partition')")
    table.sql("DELETE FROM TABLE! WHERE number % 30 = 12 OR number = 44")
    # The new rows and the deletes of the old ones are of one commit.
    table.sql("UPDATE TABLE! SET delay = 100 WHERE number IN (6, 7, 36)")
    table.state("positional", 52)
    # Nulls are equal to nulls, in one partition; the rows that come later are not deleted.
    table.equality_delete(["delay"], [(None,), (3,)], {"origin": "ORD"})
    table.insert([flight(60, "ORD", None), flight(61, "ORD", 3), flight(62, "ATL", 3)])
    table.equality_delete(["number", "delay"], [(20, 0), (21, 999), (62, 3)], {"origin": "SFO"})
    table.state("equality", 51)
    # A column that has equality deletes is renamed, and later deletes go by the null of files without a newer column.
    # (A dropped one cannot be had: planning a scan by Iceberg 1.10 itself then fails with a NullPointerException.)
    table.sql("ALTER TABLE TABLE! ADD COLUMN note STRING")
    table.sql("ALTER TABLE TABLE! RENAME COLUMN number TO no")
    table.sql("INSERT INTO TABLE! VALUES (TIMESTAMP_NTZ '2001-02-01 00:00:00', 'SFO', 7L, 71L, 'late')")
    table.equality_delete(["no", "note"], [(26, None), (71, None), (29, "late")], {"origin": "SFO"})
    table.state("evolved", 51)
    # Files of three partition specs, and deletes in each.
    table.sql("ALTER TABLE TABLE! ADD PARTITION FIELD months(at)")
    table.sql("INSERT INTO TABLE! SELECT at + INTERVAL 31 DAYS, origin, delay, no + 100, 'again' FROM TABLE! WHERE no < 20")
    table.sql("DELETE FROM TABLE! WHERE no IN (50, 101, 110)")
    table.state("added", 63)
    table.sql("ALTER TABLE TABLE! DROP PARTITION FIELD origin")
    table.sql("INSERT INTO TABLE! SELECT at, origin, delay, no + 100, 'and again' FROM TABLE! WHERE no BETWEEN 100 AND 119")
    table.sql("DELETE FROM TABLE! WHERE no IN (10, 114, 216)")
    table.state("last", 73)
    table.pack()


def version_three():
    """Positional deletes that become deletion vectors, which grow; equality deletes everywhere; a default; a branch; gzip."""
    properties = {"format-version": "2", "write.metadata.compression-codec": "gzip", **MERGE_ON_READ}
    table = Table("deletes_v3", COLUMNS, "", properties)
    table.insert(flights(range(0, 40)))
    table.sql("DELETE FROM TABLE! WHERE number IN (5, 6)")
    table.state("positional", 38)
    table.sql("ALTER TABLE TABLE! SET TBLPROPERTIES ('format-version'='3')")
    table.insert(flights(range(40, 60)))
    table.sql("ALTER TABLE TABLE! CREATE TAG forty_to_sixty")
    table.sql("DELETE FROM TABLE! WHERE number IN (7, 8, 9, 39, 41)")
    table.state("vectors", 53)
    table.sql("DELETE FROM TABLE! WHERE number IN (10, 42)")
    table.sql("UPDATE TABLE! SET delay = -1 WHERE number = 30")
    table.equality_delete(["origin", "delay"], [("ATL", 2), ("SFO", None), ("XXX", 1)])
    table.state("equality", 48)
    table.sql("ALTER TABLE TABLE! CREATE BRANCH late")
    table.insert(flights(range(90, 95)), ".branch_late")
    table.sql("DELETE FROM TABLE!.branch_late WHERE number IN (1, 91)")
    table.state("branch", 51, " VERSION AS OF 'late'")
    table.state("tag", 58, " VERSION AS OF 'forty_to_sixty'")
    types = jvm.org.apache.iceberg.types.Types
    literal = jvm.org.apache.iceberg.expressions.Literal
    update = table.java().updateSchema()
    update = update.addColumn("carrier", types.StringType.get(), "", literal.of("UA"))
    update = update.addRequiredColumn("seats", types.LongType.get(), "", literal.of(Long(150)))
    update.commit()
    table.sql("INSERT INTO TABLE! VALUES (TIMESTAMP_NTZ '2001-02-01 00:00:00', 'ORD', 5L, 80L, 'DL', 99L),"
              " (TIMESTAMP_NTZ '2001-02-01 00:00:00', 'ORD', 5L, 81L, NULL, 99L)")
    # Of old rows the default is deleted, where they have it.
    table.equality_delete(["carrier", "number"], [("UA", 13), ("DL", 14), (None, 15), (None, 81)])
    table.sql("DELETE FROM TABLE! WHERE number = 80")
    table.state("last", 47)
    table.pack()


version_two()
version_three()
shutil.rmtree(ROOT, ignore_errors=True)
