#!/usr/bin/env bash
# Installs Apache Kafka 4 (KRaft) from Maven Central in FOLDER, once, for the tests that run on it. Says that it is skipped where Java 17
# or Maven is absent.
# Usage: scripts/kafka.sh FOLDER
set -euo pipefail

folder=$1
if ! java -version 2>&1 | grep -q 'version "17' || ! command -v mvn >/dev/null; then
  echo "SKIPPED  Kafka: it needs Java 17 and Maven (on Debian: apt-get install openjdk-17-jdk-headless maven)"
  exit 0
fi
stamp="$folder/$(sha256sum <"$0" | cut -c 1-16)"
[ -e "$stamp" ] && exit 0
echo "Installing Apache Kafka into $folder …"
rm -rf "$folder"
mkdir -p "$folder"
cat >"$folder/pom.xml" <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lakeshift</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>4.1.0</version>
    </dependency>
  </dependencies>
</project>
POM
mvn --quiet --batch-mode --file "$folder/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
  "-DoutputDirectory=$folder/jars"
touch "$stamp"
