#!/usr/bin/env bash
# Which crate may use which: journal ← core ← {tables, exec, stream} ← cli, and the three in the middle never each other.
# And: one DataFusion and one object_store in Cargo.lock. Development dependencies are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0

fail() {
  echo "FAIL: $*" >&2
  failed=1
}

# forbid CRATE PATTERN: nothing that the crate is built from matches the whole pattern.
forbid() {
  local tree found
  tree="$(cargo tree --locked --all-features --edges normal,build --prefix none --format '{p}' --package "lakeshift-$1")"
  found="$(awk 'NR > 1 { print $1 }' <<<"$tree" | grep -vx "lakeshift-$1" | sort -u | grep -Ex "$2" | paste -sd' ' || true)"
  [ -z "$found" ] || fail "lakeshift-$1 must not depend on: $found"
}

heavy='datafusion.*|arrow.*|parquet.*|deltalake.*|iceberg.*|rdkafka.*'
forbid journal "lakeshift-.*|$heavy"
forbid core "lakeshift-(tables|exec|stream|cli|testkit)|$heavy"
forbid tables 'lakeshift-(exec|stream|cli|testkit)|datafusion|rdkafka.*'
forbid exec 'lakeshift-(tables|stream|cli|testkit)|deltalake.*|iceberg.*|rdkafka.*'
forbid stream 'lakeshift-(tables|exec|cli|testkit)|datafusion.*'
forbid cli 'lakeshift-testkit'

for crate in datafusion object_store; do
  count="$(grep -cx "name = \"$crate\"" Cargo.lock || true)"
  [ "$count" = 1 ] || fail "Cargo.lock has $count versions of $crate; exactly one may stand there"
done

[ "$failed" = 0 ] && echo "dependency directions ok"
exit "$failed"
