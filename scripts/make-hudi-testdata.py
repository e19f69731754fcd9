"""Hudi tables that Spark writes, with the rows that Spark reads of them: testdata/hudi/spark/<name>.tar.zst.

    mvn dependency:get -Dartifact=org.apache.hudi:hudi-spark3.5-bundle_2.12:1.0.2 -Dtransitive=false
    python3 -m venv spark && spark/bin/pip install pyspark==3.5.9
    JAVA_HOME=<Java 17> spark/bin/python scripts/make-hudi-testdata.py OUT [NAME …]

Each archive has two folders: `table`, and `expected` with one Parquet file. File names and times differ from run to run.
"""

import os
import shutil
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

BUNDLE = os.path.expanduser(
    "~/.m2/repository/org/apache/hudi/hudi-spark3.5-bundle_2.12/1.0.2/hudi-spark3.5-bundle_2.12-1.0.2.jar"
)
OUT, ONLY = sys.argv[1], sys.argv[2:]
CITIES = ["lima", "oslo", "rome"]
# Values that a path must encode, and null.
ODD = ["a/b c", "ü=x", "lima", None]
PAYLOAD = "hoodie.datasource.write.payload.class"
LATEST = "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload"
BY_EVENT = "org.apache.hudi.common.model.DefaultHoodieRecordPayload"

SCHEMA = T.StructType(
    [
        T.StructField("id", T.StringType()),
        T.StructField("ts", T.LongType()),
        T.StructField("city", T.StringType()),
        T.StructField("n", T.IntegerType()),
        T.StructField("price", T.DecimalType(12, 3)),
        T.StructField("day", T.DateType()),
        T.StructField("at", T.TimestampType()),
        T.StructField("tags", T.ArrayType(T.StringType())),
        T.StructField("parts", T.MapType(T.StringType(), T.IntegerType())),
        T.StructField(
            "s",
            T.StructType(
                [
                    T.StructField("x", T.DoubleType()),
                    T.StructField("y", T.BooleanType()),
                    T.StructField("b", T.BinaryType()),
                ]
            ),
        ),
        T.StructField("f", T.FloatType()),
    ]
)


def session():
    settings = {
        "spark.jars": BUNDLE,
        "spark.driver.memory": "1500m",
        "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
        "spark.sql.extensions": "org.apache.spark.sql.hudi.HoodieSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.hudi.catalog.HoodieCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.warehouse.dir": f"{OUT}/warehouse",
        "spark.ui.enabled": "false",
        # Lists of three levels: those of two have no null elements.
        "spark.hadoop.parquet.avro.write-old-list-structure": "false",
        "spark.executor.heartbeatInterval": "600s",
        "spark.network.timeout": "3600s",
    }
    builder = SparkSession.builder.master("local[2]").appName("testdata")
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


spark = session()
spark.sparkContext.setLogLevel("ERROR")


def row(i, ts, n, cities=CITIES):
    tags = [f"t{i}", None] if i % 3 else []
    parts = {"a": n, "b": None} if i % 2 else None
    inner = Row(x=float(i) / 3, y=(i % 2 == 0), b=bytes([i % 256, 0, 255]))
    at = datetime(2024, 1, 1, 0, 0, i % 60, 123456)
    day = date(2024, 1, 1 + i % 28)
    return (f"k{i:03}", ts, cities[i % len(cities)], n, Decimal(n) / 8, day, at, tags, parts, inner, float(n) / 3)


def options(name, **more):
    return {
        "hoodie.table.name": name,
        "hoodie.datasource.write.recordkey.field": "id",
        "hoodie.datasource.write.precombine.field": "ts",
        "hoodie.datasource.write.partitionpath.field": "city",
        "hoodie.datasource.write.table.type": "MERGE_ON_READ",
        "hoodie.datasource.write.hive_style_partitioning": "true",
        "hoodie.compact.inline": "false",
        "hoodie.metadata.enable": "false",
        **{f"hoodie.{kind}.shuffle.parallelism": "2" for kind in ("upsert", "insert", "delete", "bulkinsert")},
        **more,
    }


def write(name, rows, operation, settings, mode="append"):
    frame = spark.createDataFrame(rows, SCHEMA) if isinstance(rows, list) else rows
    frame = frame.write.format("hudi").options(**settings).option("hoodie.datasource.write.operation", operation)
    frame.mode(mode).save(f"{OUT}/{name}")


def life(name, settings, older=True):
    """Inserts, updates, updates that are older by event time, inserts, deletes, and deletes that are older."""
    write(name, [row(i, 100, i) for i in range(60)], "insert", settings, "overwrite")
    write(name, [row(i, 200, i + 1000) for i in range(0, 30, 2)], "upsert", settings)
    if older:
        write(name, [row(i, 50, i + 2000) for i in range(12)], "upsert", settings)
    write(name, [row(i, 300, i + 3000) for i in range(55, 70)], "upsert", settings)
    write(name, [row(i, 400, i) for i in (3, 4, 5)], "delete", settings)
    write(name, [row(i, 10, i) for i in (7, 8)], "delete", settings)


def ev(name):
    life(name, options(name))


def ct(name):
    life(name, options(name, **{"hoodie.record.merge.mode": "COMMIT_TIME_ORDERING", PAYLOAD: LATEST}))


def v6(name):
    life(name, options(name, **{"hoodie.write.table.version": "6", PAYLOAD: BY_EVENT}))


def v6latest(name):
    """Releases before 1.0 read other rows of it than later ones."""
    life(name, options(name, **{"hoodie.write.table.version": "6", PAYLOAD: LATEST}))


def v6agreed(name):
    life(name, options(name, **{"hoodie.write.table.version": "6", PAYLOAD: LATEST}), older=False)


def pend(name):
    """A compaction is planned and not done."""
    life(name, options(name))
    spark.sql(f"CALL run_compaction(op => 'schedule', path => '{OUT}/{name}')").collect()
    write(name, [row(i, 500, i + 5000) for i in range(10, 25)], "upsert", options(name))
    write(name, [row(i, 600, i) for i in (20, 21)], "delete", options(name))


def compacted(name):
    life(name, options(name))
    spark.sql(f"CALL run_compaction(op => 'run', path => '{OUT}/{name}')").collect()
    write(name, [row(i, 500, i + 5000) for i in range(10, 25)], "upsert", options(name))


def parquetlog(name):
    merger = "org.apache.hudi.DefaultSparkRecordMerger"
    more = {
        "hoodie.logfile.data.block.format": "parquet",
        "hoodie.datasource.write.record.merger.impls": merger,
        "hoodie.write.record.merge.custom.implementation.classes": merger,
    }
    life(name, options(name, **more))


def dropped(name):
    more = {
        "hoodie.datasource.write.drop.partition.columns": "true",
        "hoodie.datasource.write.partitionpath.urlencode": "true",
        "hoodie.datasource.write.table.type": "COPY_ON_WRITE",
    }
    write(name, [row(i, 100, i, ODD[:3]) for i in range(30)], "insert", options(name, **more), "overwrite")
    write(name, [row(i, 200, i + 100, ODD[:3]) for i in range(9)], "upsert", options(name, **more))


def encoded(name):
    more = {"hoodie.datasource.write.partitionpath.urlencode": "true"}
    write(name, [row(i, 100, i, ODD) for i in range(30)], "insert", options(name, **more), "overwrite")
    write(name, [row(i, 200, i + 100, ODD) for i in range(9)], "upsert", options(name, **more))


def evolved(name):
    """A column is added and one widens, in log files only."""
    settings = options(name)
    write(name, [row(i, 100, i) for i in range(30)], "insert", settings, "overwrite")

    def nullable(value):
        return F.when(F.col("id").isNotNull(), value)

    newer = spark.createDataFrame([row(i, 200, i + 100) for i in range(9)], SCHEMA)
    newer = newer.withColumn("n", F.col("n").cast("long")).withColumn("extra", nullable(F.lit("new")))
    write(name, newer, "upsert", settings)
    newest = newer.limit(3).withColumn("ts", nullable(F.lit(300).cast("long"))).withColumn("n", nullable(F.lit(1 << 40)))
    write(name, newest, "upsert", settings)


AGED = {"hoodie.cleaner.commits.retained": "2", "hoodie.keep.min.commits": "4", "hoodie.keep.max.commits": "5"}


def cow(name):
    """Copy-on-write, cleaned and archived; at last a partition is overwritten."""
    more = {"hoodie.datasource.write.table.type": "COPY_ON_WRITE", "hoodie.metadata.enable": "true", **AGED}
    life(name, options(name, **more))
    for k in range(8):
        write(name, [row(i, 500 + k, i + 5000 + k) for i in range(k, k + 6)], "upsert", options(name, **more))
    write(name, [row(200, 100, 1, ["oslo"])], "insert_overwrite", options(name, **more))


def moraged(name):
    """Merge-on-read, compacted every three commits, cleaned and archived."""
    more = {"hoodie.compact.inline": "true", "hoodie.compact.inline.max.delta.commits": "3", **AGED}
    life(name, options(name, **more))
    for k in range(12):
        write(name, [row(i, 500 + k, i + 5000 + k) for i in range(k, k + 6)], "upsert", options(name, **more))
    write(name, [row(i, 900, i) for i in (14, 15)], "delete", options(name, **more))


def sql_table(name):
    columns = "id string, ts bigint, v int, w string, city string"
    properties = "type='mor', primaryKey='id', preCombineField='ts'"
    spark.sql(
        f"CREATE TABLE {name} ({columns}) USING hudi PARTITIONED BY (city) TBLPROPERTIES({properties}) "
        f"LOCATION '{OUT}/{name}'"
    )
    values = "('a',1,1,'x','lima'),('b',1,2,'y','lima'),('c',1,3,'z','oslo'),('d',1,3,'z','oslo')"
    spark.sql(f"INSERT INTO {name} VALUES {values}")


def partial(name):
    sql_table(name)
    source = "(SELECT 'a' id, 2L ts, 10 v) s"
    spark.sql(
        f"MERGE INTO {name} t USING {source} ON t.id=s.id WHEN MATCHED THEN UPDATE SET t.v=s.v, t.ts=s.ts"
    )


def sqlmor(name):
    sql_table(name)
    spark.sql(f"UPDATE {name} SET v=20 WHERE id='b'")
    spark.sql(f"DELETE FROM {name} WHERE id='c'")
    spark.sql(f"INSERT OVERWRITE {name} PARTITION(city='rome') VALUES ('e',1,1,'q')")
    spark.sql(f"UPDATE {name} SET v=21 WHERE id='d'")


def pack(name):
    rows = spark.read.format("hudi").load(f"{OUT}/{name}")
    rows = rows.drop(*[column for column in rows.columns if column.startswith("_hoodie_")])
    folder = f"{OUT}/packed/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    rows.coalesce(1).write.parquet(f"{folder}/expected")
    shutil.copytree(f"{OUT}/{name}", f"{folder}/table", ignore=shutil.ignore_patterns("*.crc", ".temp", ".aux"))
    archive = os.path.abspath(f"{OUT}/{name}.tar.zst")
    subprocess.run(["tar", "--exclude=*.crc", "-C", folder, "--zstd", "-cf", archive, "table", "expected"], check=True)


for make in [ev, ct, v6, v6latest, v6agreed, pend, compacted, parquetlog, dropped, encoded, evolved, cow, moraged, partial, sqlmor]:
    if not ONLY or make.__name__ in ONLY:
        try:
            make(make.__name__)
            pack(make.__name__)
            print("MADE", make.__name__, flush=True)
        except Exception as error:
            print("FAILED", make.__name__, str(error)[:1500], flush=True)
