#!/usr/bin/env bash
# Installs pyspark in FOLDER/venv, once: Spark for `make interop`, and the jars of the Hive Metastore that tests run on.
# Usage: scripts/pyspark.sh FOLDER
set -euo pipefail

folder=$1
version=3.5.9
if [ -e "$folder/pyspark-$version" ]; then
  exit 0
fi
echo "Installing pyspark $version into $folder …"
mkdir -p "$folder"
[ -x "$folder/venv/bin/python" ] || python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "pyspark==$version"
touch "$folder/pyspark-$version"
