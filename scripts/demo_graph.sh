#!/usr/bin/env bash
# The graph's demo: eight tables computed from real flights, in a scratch folder. Needs nothing but the lakeshift binary.
# Usage: scripts/demo_graph.sh LAKESHIFT_BINARY SCRATCH_FOLDER
set -euo pipefail

lakeshift="$(realpath "$1")"
project="$(realpath "$(dirname "$0")/..")"
folder=$2
graph=migrations/flights-graph

if [ -e "$folder" ] && [ ! -e "$folder/.lakeshift-demo" ]; then
  echo "$folder exists and is not a folder of this demo; say DEMO_DIR=another one" >&2
  exit 2
fi
rm -rf "$folder"
mkdir -p "$folder/lake" "$folder/migrations"
touch "$folder/.lakeshift-demo"
cp -R "$project/testdata/flights" "$folder/lake/flights-daily"
cp -R "$project/migrations/flights-graph" "$folder/migrations/"
cd "$folder"

heading() { printf '\n── %s\n' "$1"; }

# run ARGUMENTS…: shows and runs a lakeshift command, which must succeed.
run() {
  printf '$ lakeshift %s\n' "$*"
  "$lakeshift" --quiet "$@"
}

heading "Eight tables, none of them computed yet"
run graph show $graph
run graph run $graph

heading "A bug: delays of Hawaii's airports count from 15 minutes on, not from 16. What would the mend touch?"
sed -i.orig "s/WHEN delay > 15 THEN/WHEN delay > 15 OR (delay = 15 AND origin IN ('HNL', 'OGG', 'LIH', 'KOA', 'ITO')) THEN/" \
  $graph/daily_delays.sql
diff $graph/daily_delays.sql.orig $graph/daily_delays.sql || true
run graph stale $graph --why yearly_report 2001
run graph plan $graph

heading "First one week, to look at: what reads it then mixes two logics"
run graph run $graph --table daily_delays --from 2001-01-01 --to 2001-01-07
run graph run $graph --table monthly_origin
run graph logic $graph monthly_origin
run graph explain $graph monthly_origin 2001-01

heading "Then the rest; where rows come out as they were, the wave stops"
run graph run $graph
run graph logic $graph monthly_origin
run graph stale $graph

heading "Late flights of 5 January arrive: only what they reach runs"
cp "$project/testdata/flights-late/flight_date=2001-01-05/part-1.parquet" lake/flights-daily/flight_date=2001-01-05/
run graph plan $graph
run graph run $graph
run graph show $graph --html graph.html

heading "A file is written again with the same rows: its day is computed, and nothing else"
cp lake/flights-daily/flight_date=2001-01-20/part-0.parquet again.parquet
sleep 1
mv again.parquet lake/flights-daily/flight_date=2001-01-20/part-0.parquet
run graph plan $graph
run graph run $graph
echo
echo "the page: $folder/graph.html"
