#!/usr/bin/env bash
# Runs the validation and copies its reports to $OUT. Always succeeds; the exit code is an output, so that the pull request
# is told before the job fails.
set -euo pipefail
: "${LAKESHIFT:?}" "${MIGRATION:?}" "${OUT:?}" "${GITHUB_OUTPUT:?}"

args=(validate "$MIGRATION" --format json)
if [ "${STRICT:-false}" = true ]; then args+=(--strict); fi

# What an earlier validation of this job left is not this one's.
rm -rf "$OUT"
mkdir -p "$OUT"
code=0
"$LAKESHIFT" "${args[@]}" >"$OUT/answer.json" 2> >(tee "$OUT/log.txt" >&2) || code=$?

folder="$(jq -r '.report // empty' "$OUT/answer.json" 2>/dev/null || true)"
folder="${folder%/report.json}"
case "$folder" in
  "") ;;
  file://*) cp -R "${folder#file://}/." "$OUT/" ;;
  s3://*) aws s3 cp --recursive --only-show-errors "$folder/" "$OUT/" ;;
  *) echo "::warning::the reports are in $folder; this script copies from file:// and s3:// only" ;;
esac

# Without a report the reviewer still learns that nothing was proven, and never sees an older verdict.
if [ ! -f "$OUT/report.md" ]; then
  {
    echo "**NO VERDICT** · the validation ended with exit code $code and left no report here"
    echo
    echo "Nothing is proven. The job's log and the artefact's log.txt say why."
  } >"$OUT/report.md"
  # A success that shows nothing is none.
  if [ "$code" -eq 0 ]; then code=2; fi
fi

{
  echo "exit-code=$code"
  echo "verdict=$(jq -r '.verdict // empty' "$OUT/answer.json" 2>/dev/null || true)"
  echo "name=$(basename "$MIGRATION" | tr -c 'A-Za-z0-9_\n-' '-')"
} >>"$GITHUB_OUTPUT"
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then cat "$OUT/report.md" >>"$GITHUB_STEP_SUMMARY"; fi
