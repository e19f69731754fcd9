#!/usr/bin/env bash
# The stream's demo: flights as events, a table of them, and three backfills beside it. Needs no service: Kafka's protocol is
# spoken by a mock cluster in this machine's memory, or by a real one where LAKESHIFT_KAFKA names its bootstrap address.
# Usage: scripts/demo_stream.sh LAKESHIFT_BINARY FLIGHTS_EVENTS_BINARY SCRATCH_FOLDER
set -euo pipefail

lakeshift="$(realpath "$1")"
events="$(realpath "$2")"
project="$(realpath "$(dirname "$0")/..")"
folder=$3
stream=migrations/flights-stream

if [ -e "$folder" ] && [ ! -e "$folder/.lakeshift-demo" ]; then
  echo "$folder exists and is not a folder of this demo; say DEMO_DIR=another one" >&2
  exit 2
fi
rm -rf "$folder"
mkdir -p "$folder/lake" "$folder/migrations"
touch "$folder/.lakeshift-demo"
cp -R "$project/migrations/flights-stream" "$folder/migrations/"
cd "$folder"

heading() { printf '\n── %s\n' "$1"; }

# run ARGUMENTS…: shows and runs a lakeshift command, which must succeed.
run() {
  printf '$ lakeshift %s\n' "$*"
  "$lakeshift" --quiet "$@"
}

# A real cluster keeps what earlier demos sent, so each has a topic of its own there.
topic=flights
if [ -n "${LAKESHIFT_KAFKA:-}" ]; then
  topic="flights-$(date +%s)-$$"
  sed -i.orig "s/topics: \[flights\]/topics: [$topic]/" "$stream/stream.yaml"
fi
coproc FLIGHTS { exec "$events" "$project/testdata/flights" "${LAKESHIFT_KAFKA:-mock}" "$topic"; }
# Bash forgets the descriptors of a coprocess that has ended.
exec 3<&"${FLIGHTS[0]}" 4>&"${FLIGHTS[1]}"
read -r LAKESHIFT_KAFKA <&3
export LAKESHIFT_KAFKA

# send DAYS: the producer sends the next days.
send() {
  echo "days $1" >&4
  read -r told <&3
  printf '  %s\n' "$told"
}

# beside MODE FROM TO: a backfill in the background, and an ingest of what has come meanwhile.
beside() {
  local name="corrected-$1"
  send 3
  printf '$ lakeshift stream backfill %s --name %s --from %s --to %s --mode %s --sql-file corrected.sql &\n' \
    "$stream" "$name" "$2" "$3" "$1"
  "$lakeshift" --quiet stream backfill "$stream" --name "$name" --from "$2" --to "$3" --mode "$1" \
    --sql-file "$stream/corrected.sql" >"$name.txt" &
  local backfill=$!
  run ingest "$stream" --once
  wait "$backfill"
  printf 'the backfill says:\n'
  sed 's/^/  /' "$name.txt"
  run ingest "$stream" --once
}

heading "Three weeks of January as events; one flight in fourteen is told one, two or three weeks late"
send 21
run ingest "$stream" --once
run stream audit "$stream"

# From here on commits are small, so that some come while a backfill holds its range, which takes a second.
sed -i.orig "s/rows: 200000/rows: 4000/" "$stream/stream.yaml"

heading "pause: the first week is corrected, and the stream pauses in it meanwhile"
beside pause 2001-01-01 2001-01-07

heading "priority: the second week; newer events are written meanwhile"
beside priority 2001-01-08 2001-01-14

heading "park: the third week; events are set aside and replayed in order"
beside park 2001-01-15 2001-01-21

heading "The rest of the month, and what became of every event"
send 1
run ingest "$stream" --once
run stream audit "$stream"

eval "exec 4>&- ${FLIGHTS[1]}>&-"
wait "$FLIGHTS_PID" 2>/dev/null || true
