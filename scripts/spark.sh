#!/usr/bin/env bash
# Installs Apache Spark with Iceberg, Delta Lake and Hudi in FOLDER, once (Spark from PyPI, the others from Maven Central), and runs
# interop_spark.py and interop_metastore.py on it. Says that it is skipped where Java 17 or Maven is absent.
# Usage: scripts/spark.sh FOLDER LAKESHIFT_BINARY SCRATCH_FOLDER
set -euo pipefail

folder=$1
if ! java -version 2>&1 | grep -q 'version "17' || ! command -v mvn >/dev/null; then
  echo "SKIPPED  Spark: it needs Java 17 and Maven (on Debian: apt-get install openjdk-17-jdk-headless maven)"
  exit 0
fi
stamp="$folder/$(sha256sum <"$0" | cut -c 1-16)"
artifacts=(
  org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.10.0
  io.delta:delta-spark_2.12:3.3.2
  io.delta:delta-storage:3.3.2
  org.antlr:antlr4-runtime:4.9.3
  org.apache.hudi:hudi-spark3.5-bundle_2.12:1.0.2
)

"$(dirname "$0")/pyspark.sh" "$folder"
if [ ! -e "$stamp" ]; then
  echo "Installing Iceberg, Delta Lake and Hudi into $folder …"
  rm -rf "$folder/jars"
  mkdir -p "$folder/jars"
  for artifact in "${artifacts[@]}"; do
    mvn --quiet --batch-mode dependency:get -Dtransitive=false "-Dartifact=$artifact"
    mvn --quiet --batch-mode dependency:copy "-Dartifact=$artifact" "-DoutputDirectory=$folder/jars"
  done
  touch "$stamp"
fi
"$folder/venv/bin/python" "$(dirname "$0")/interop_spark.py" "$2" "$3" "$folder/jars"
exec "$folder/venv/bin/python" "$(dirname "$0")/interop_metastore.py" "$2" "$3-metastore" "$folder/jars"
