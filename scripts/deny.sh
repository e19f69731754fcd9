#!/usr/bin/env bash
# cargo-deny with deny.toml: licences, duplicate crates, sources, and security advisories where their database can be
# fetched. Compiles cargo-deny once (a few minutes), outside the checkout.
set -euo pipefail

version=0.20.2
tools="${LAKESHIFT_TOOLS:-$HOME/.cache/lakeshift/tools}"
deny="$tools/bin/cargo-deny"

if [ "$("$deny" --version 2>/dev/null || true)" != "cargo-deny $version" ]; then
  echo "Compiling cargo-deny $version into $tools …"
  # Not optimised: it runs for seconds. Its own target folder: it shares no crate with the workspace's profile.
  CARGO_TARGET_DIR="$tools/target" CARGO_PROFILE_DEV_DEBUG=false \
    cargo install cargo-deny --version "$version" --locked --profile dev --root "$tools" --force
  rm -rf "$tools/target"
fi

"$deny" --locked --all-features check licenses bans sources

log="$(mktemp)"
trap 'rm -f "$log"' EXIT
if "$deny" --locked --all-features check advisories >"$log" 2>&1; then
  cat "$log"
elif grep -q "failed to fetch advisory database" "$log"; then
  echo "NOTICE: advisories were NOT checked: their database (RustSec, on GitHub) cannot be reached from here."
else
  cat "$log"
  exit 1
fi
