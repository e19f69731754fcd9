#!/usr/bin/env python3
"""Spark SQL reads a table by its name in a Hive Metastore before the cutover, after it and after the rollback.

A Hive-style Parquet table that Spark made goes to Iceberg and to Delta. Spark knows nothing but `lake.<name>`: each time it must give
the same rows, and the table that readers are on.

Usage: interop_metastore.py LAKESHIFT_BINARY SCRATCH_FOLDER JARS_FOLDER
Prints PASS or FAIL for each check; the exit code is 1 if one failed.
"""

import pathlib
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pyspark
from playbook import SINCE_BACKFILL, UNTIL_BACKFILL, Migration, scratch
from pyspark.sql import SparkSession

SPEC = """\
apiVersion: lakeshift/v1
name: {name}
control: {root}/control
source: {{format: hive, location: {root}/lake/{name}, partitions: [{{name: day, type: date}}]}}
target: {{format: {target}, location: {root}/lake/{name}_new, partitioning: [day]}}
cutover: {{alias: {name}, rehearsal: true, metastore: {{uri: "thrift://127.0.0.1:{port}", table: lake.{name}}}}}
"""
CATALOGS = {
    "iceberg": "org.apache.iceberg.spark.SparkSessionCatalog",
    "delta": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def metastore(root: pathlib.Path) -> tuple[subprocess.Popen, int]:
    """A Metastore of Spark's own jars with a Derby in the scratch folder, and its port, once it answers."""
    folder = root / "metastore"
    folder.mkdir()
    settings = {
        "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/db;create=true",
        "hive.metastore.warehouse.dir": f"file://{folder}/warehouse",
        "datanucleus.schema.autoCreateAll": "true",
        "hive.metastore.schema.verification": "false",
        "hive.in.test": "true",  # makes the tables of locks
        "hive.async.log.enabled": "false",
    }
    properties = "".join(f"<property><name>{name}</name><value>{value}</value></property>" for name, value in settings.items())
    (folder / "hive-site.xml").write_text(f"<configuration>{properties}</configuration>")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jars = pathlib.Path(pyspark.__file__).parent / "jars"
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.lang", "java.net", "java.nio", "java.util")]
    command = ["java", "-Xmx512m", *opened, "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED"]
    command += [f"-Djava.io.tmpdir={folder}", "-cp", f"{folder}:{jars}/*"]
    command += ["org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(port)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    for _ in range(240):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server, port
        time.sleep(0.5)
    server.kill()
    sys.exit(f"the Metastore does not answer; its log is {folder}/log")


def session(root: pathlib.Path, jars: pathlib.Path, port: int, target: str) -> SparkSession:
    """A Spark of which `spark_catalog` is the Metastore and knows the target's format, as its users configure it."""
    settings = {
        "spark.jars": ",".join(str(jar) for jar in sorted(jars.glob("*.jar")) if "hudi" not in jar.name),
        "spark.sql.catalog.spark_catalog": CATALOGS[target],
        "spark.hadoop.hive.metastore.uris": f"thrift://127.0.0.1:{port}",
        "spark.sql.warehouse.dir": f"file://{root}/warehouse",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
    }
    if target == "iceberg":
        settings |= {"spark.sql.catalog.spark_catalog.type": "hive", "spark.sql.catalog.spark_catalog.cache-enabled": "false"}
    else:
        settings["spark.sql.extensions"] = "io.delta.sql.DeltaSparkSessionExtension"
    builder = SparkSession.builder.master("local[2]").appName("lakeshift").enableHiveSupport()
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def check(lakeshift: str, root: pathlib.Path, jars: pathlib.Path, port: int, target: str) -> bool:
    """One migration, and what Spark reads along its way."""
    name = f"to_{target}"
    spark = session(root, jars, port, target)
    spark.sql("CREATE DATABASE IF NOT EXISTS lake")
    spark.sql(
        f"CREATE EXTERNAL TABLE lake.{name} (id BIGINT, name STRING) PARTITIONED BY (day DATE) STORED AS PARQUET "
        f"LOCATION 'file://{root}/lake/{name}'"
    )
    spark.sql("SET hive.exec.dynamic.partition.mode=nonstrict")
    spark.sql(
        f"INSERT INTO lake.{name} SELECT id, concat('name ', id), date_add(DATE '2001-01-01', CAST(id % 3 AS INT)) FROM range(300)"
    )
    passed = True

    def reads(provider: str, folder: str, when: str) -> None:
        nonlocal passed
        spark.sql(f"REFRESH TABLE lake.{name}")
        rows = [tuple(row) for row in spark.sql(f"SELECT id, name, CAST(day AS STRING) FROM lake.{name} ORDER BY id").collect()]
        of_day = spark.sql(f"SELECT count(*) FROM lake.{name} WHERE day = DATE '2001-01-02'").collect()[0][0]
        # Not by its files: Iceberg adopts the old table's where they lie.
        described = {row[0]: row[1] for row in spark.sql(f"DESCRIBE TABLE EXTENDED lake.{name}").collect()}
        here = described["Provider"] == provider and urlsplit(described["Location"]).path == f"{root}/lake/{folder}"
        expected = [(n, f"name {n}", f"2001-01-0{1 + n % 3}") for n in range(300)]
        holds = rows == expected and of_day == 100 and here
        passed &= holds
        note = "" if holds else f" ({len(rows)} rows, {of_day} of a day, {described['Provider']} at {described['Location']})"
        print(f"{'PASS' if holds else 'FAIL'}  Spark by its Metastore, hive to {target}: {when}{note}", flush=True)

    reads("hive", name, "before the cutover")
    migration = Migration(lakeshift, root, name, SPEC.format(name=name, root=root, target=target, port=port))
    migration.steps(UNTIL_BACKFILL + [step for step in SINCE_BACKFILL if step != "cutover"])
    migration.step("cutover", "--rehearse")
    reads("hive", name, "after the rehearsal")
    migration.step("cutover")
    reads(target, f"{name}_new", "after the cutover")
    migration.step("rollback")
    reads("hive", name, "after the rollback")
    spark.stop()
    return passed


def main() -> None:
    lakeshift, root, jars = sys.argv[1], scratch(pathlib.Path(sys.argv[2])), pathlib.Path(sys.argv[3])
    server, port = metastore(root)
    try:
        results = [check(lakeshift, root, jars, port, target) for target in CATALOGS]
    finally:
        server.kill()
    sys.exit(0 if all(results) else 1)


main()
