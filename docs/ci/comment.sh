#!/usr/bin/env bash
# Keeps one comment on the pull request up to date: finds the one with this migration's hidden marker and edits it, else
# writes it. Only comments of $AUTHOR count: whoever wrote a comment can edit it, so another's must never carry a verdict.
set -euo pipefail
: "${GH_TOKEN:?}" "${AUTHOR:?}" "${MIGRATION:?}" "${PULL_REQUEST:?}" "${OUT:?}" "${GITHUB_REPOSITORY:?}"

MARKER="<!-- lakeshift-validate $(printf %s "$MIGRATION" | tr -c 'A-Za-z0-9_/.-' '.') -->"
export MARKER
run="${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY/actions/runs/${GITHUB_RUN_ID:-}"
{
  echo "$MARKER"
  cat "$OUT/report.md"
  echo
  echo "Commit ${GITHUB_SHA:-unknown} · [the job, with the HTML report among its artefacts]($run)"
} >"$OUT/comment.md"

comments="repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments"
ours='.[] | select(.user.login == env.AUTHOR and (.body | startswith(env.MARKER))) | .id'
tell() {
  local ids
  # A list that could not be read is not an empty one: a second comment would be written.
  ids="$(gh api --paginate "$comments?per_page=100" --jq "$ours")" || return
  if [ -n "$ids" ]; then
    gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/${ids%%$'\n'*}" -F "body=@$OUT/comment.md"
  else
    gh api --silent --method POST "$comments" -F "body=@$OUT/comment.md"
  fi
}
# A pull request from a fork has a token that may not write: the verdict still stands in the job's summary.
tell || echo "::warning::the comment on pull request $PULL_REQUEST could not be written; the report is in the job's summary"
