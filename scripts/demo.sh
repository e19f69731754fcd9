#!/usr/bin/env bash
# The demo: real tables move through every phase, in a scratch folder. Needs nothing but the lakeshift binary.
# Usage: scripts/demo.sh LAKESHIFT_BINARY SCRATCH_FOLDER
set -euo pipefail

lakeshift="$(realpath "$1")"
project="$(realpath "$(dirname "$0")/..")"
began=$SECONDS

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

title() {
  printf '\n%s══ %s %s%s\n' "$bold" "$1" "$(printf '═%.0s' $(seq 1 $((75 - ${#1}))))" "$plain"
}

heading() {
  printf '\n%s── %s%s\n' "$bold" "$1" "$plain"
}

say() {
  printf '%s\n' "$*" | fold -s -w 78
}

# expect CODE ARGUMENTS…: shows and runs a lakeshift command, which must end with that exit code.
expect() {
  local wanted=$1 code=0
  shift
  printf '%s$ lakeshift %s%s\n' "$dim" "$*" "$plain"
  "$lakeshift" "$@" || code=$?
  if [ "$code" != "$wanted" ]; then
    echo "The demo expected exit code $wanted, not $code." >&2
    exit 1
  fi
}

# shell COMMAND…: shows and runs another command.
shell() {
  printf '%s$ %s%s\n' "$dim" "$*" "$plain"
  "$@"
}

# Empties the scratch folder; refuses one that this script did not make.
prepare() {
  local folder=$1
  if [ -e "$folder" ] && [ ! -e "$folder/.lakeshift-demo" ]; then
    echo "$folder exists and is not a folder of this demo; say DEMO_DIR=another one" >&2
    exit 2
  fi
  rm -rf "$folder"
  mkdir -p "$folder/lake" "$folder/migrations"
  touch "$folder/.lakeshift-demo"
  cp -R "$project/testdata/flights" "$folder/lake/flights"
  cp -R "$project/testdata/flights" "$folder/lake/flights-daily"
  cp -R "$project/migrations/." "$folder/migrations"
  # Nobody waits for 14 days in a demo.
  sed -i.orig -e 's/^  grace: .*/  grace: 0s/' -e 's/^  quarantine: .*/  quarantine: 0s/' \
    "$folder"/migrations/*/migration.yaml
  rm "$folder"/migrations/*/migration.yaml.orig
}

# The newest validation report of a migration, as Markdown.
report_of() {
  find "lake/control/migrations/$1/reports" -name report.md | sort | tail -n 1
}

# section TITLE REPORT: one section of a report, without Markdown's marks, for eyes in a terminal.
section() {
  awk -v title="### $1" '/^### / { shown = ($0 == title) } shown && NF && !/^\|---/' "$2" |
    sed -e 's/^### //' -e 's/^| \([^|]*\) | \([^|]*\) | \([^|]*\) |.*/\1: \2: \3/' -e '/^check: /d' | tr -d '`' | fold -s -w 78
}

# A digest over January's data files of a table, by their names and content.
digest_of() {
  find "$1" -path '*=2001-01-*.parquet' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16
}

to_iceberg() {
  local spec=migrations/flights-to-iceberg
  title "1  From daily Hive directories to Iceberg by month and origin"
  say "The table: $(find lake/flights -name '*.parquet' | wc -l | tr -d ' ') days of U.S. flights," \
    "one directory a day. The migration is one YAML file: $spec/migration.yaml"

  heading "A spec to start from can be written for any table (first lines)"
  printf '%s$ lakeshift init lake/flights%s\n' "$dim" "$plain"
  "$lakeshift" init lake/flights >lake/init.yaml
  head -n 12 lake/init.yaml

  heading "Plan: what would happen, why, and what it would cost"
  expect 0 plan "$spec"
  heading "Approve: somebody has read it"
  expect 0 approve "$spec"

  heading "Dual write: the source's version S0 is pinned, the new table created"
  expect 0 dual-write "$spec"

  heading "Meanwhile the source lives on: a new day"
  shell cp -R "$project/testdata/flights-late/flight_date=2001-02-01" lake/flights/
  heading "Backfill: the rows of S0, newest day first; new files are carried over on the way"
  expect 0 backfill "$spec"

  heading "The source lives on: late flights of an old day"
  shell cp -R "$project/testdata/flights-late/flight_date=2001-01-05" lake/flights/
  heading "Mirror: what came after S0"
  expect 0 mirror "$spec"

  heading "Validate: every row of both tables"
  expect 0 validate "$spec"
  heading "From the report, which is kept"
  section Coverage "$(report_of flights-to-iceberg)"
  section Checks "$(report_of flights-to-iceberg)"

  heading "Shadow reads: the readers' own queries, asked of both tables"
  expect 0 shadow "$spec"

  heading "Cutover: readers follow the alias"
  expect 0 cutover "$spec"
  expect 0 resolve flights --control lake/control
  heading "Second thoughts: back to the old table, at once"
  expect 0 rollback "$spec"
  expect 0 resolve flights --control lake/control
  heading "And forward again, with a fresh proof"
  expect 0 validate "$spec"
  expect 0 cutover "$spec"
  expect 0 resolve flights --control lake/control

  heading "Grace: is the old table due to go? (here the grace period is 0 s)"
  expect 0 grace check "$spec"
  heading "Sunset: its files are listed, and then deleted"
  expect 0 sunset "$spec"
  expect 0 sunset "$spec"
  expect 0 status "$spec"
}

damaged() {
  local spec=migrations/flights-damaged
  local late=flight_date=2001-01-05/part-1.parquet
  title "2  A proof that fails"
  say "The same migration of another copy. Then one value of one row is changed behind its back: the file keeps its" \
    "name, its size and its time, so no listing can tell."
  mkdir -p "$spec"
  cp -R "$project/testdata/flights" lake/damaged
  cp -R "$project/testdata/flights-late/." lake/damaged/
  sed -e 's/^name: .*/name: flights-damaged/' -e 's/alias: .*/alias: flights-damaged/' \
    -e 's#lake/flights$#lake/damaged#' -e 's#lake/flights-iceberg$#lake/damaged-iceberg#' \
    migrations/flights-to-iceberg/migration.yaml >"$spec/migration.yaml"
  local step
  for step in plan approve dual-write backfill; do
    "$lakeshift" --quiet "$step" "$spec" >/dev/null
  done

  heading "One delay becomes a minute longer"
  touch -r "lake/damaged/$late" lake/true-time
  cat "$project/testdata/flights-damaged/$late" >"lake/damaged/$late"
  touch -r lake/true-time "lake/damaged/$late"
  rm lake/true-time
  ls -l "lake/damaged/$late"

  heading "Validate: FAIL, exit code 1"
  expect 1 validate "$spec"
  heading "The report names the rows"
  grep -e '^- \*\*missing' -e '^- \*\*extra' "$(report_of flights-damaged)" | tr -d '\\`*' | fold -s -w 78
  heading "A cutover is refused, exit code 4"
  expect 4 cutover "$spec"
  heading "Abort: what the migration created goes; the source stays"
  expect 0 abort "$spec" --reason "the source is damaged"
}

to_delta() {
  local spec=migrations/flights-to-delta before after
  title "3  From Hive to Delta in place: no data file is written"
  before="$(digest_of lake/flights-daily)"
  expect 0 plan "$spec"
  expect 0 approve "$spec"
  expect 0 dual-write "$spec"
  shell cp -R "$project/testdata/flights-late/flight_date=2001-02-01" lake/flights-daily/
  expect 0 backfill "$spec"
  expect 0 mirror "$spec"
  expect 0 validate "$spec"
  expect 0 cutover "$spec"
  expect 0 resolve flights-daily --control lake/control
  expect 0 sunset "$spec"

  heading "The proof that nothing was rewritten"
  after="$(digest_of lake/flights-daily)"
  echo "digest of January's files before: $before"
  echo "digest of January's files after:  $after"
  [ "$before" = "$after" ] || { echo "The data files have changed." >&2; exit 1; }
  echo "bytes of data written by the migration: $(bytes_written "$spec")"
  [ "$(bytes_written "$spec")" = 0 ] || { echo "Data files were written." >&2; exit 1; }
}

bytes_written() {
  "$lakeshift" --format json status "$1" | sed -n 's/^ *"bytes_written": \([0-9]*\),*$/\1/p' | head -n 1
}

closing() {
  title "Done in $((SECONDS - began)) s"
  cat <<TEXT
Iceberg table      $PWD/lake/flights-iceberg
Delta table        $PWD/lake/flights-daily
journals, reports  $PWD/lake/control
a report to read   $PWD/$(report_of flights-to-iceberg)
one that failed    $PWD/$(report_of flights-damaged)
specs              $PWD/migrations

Next: make plan MIGRATION=flights-to-iceberg, and migrations/*/README.md
TEXT
}

prepare "$2"
cd "$2"
to_iceberg
damaged
to_delta
closing
