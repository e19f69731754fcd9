#!/usr/bin/env bash
# Makes the Python environment of scripts/requirements.txt in a folder, or brings it up to date. Quick when nothing changed.
# Usage: scripts/venv.sh FOLDER
set -euo pipefail

folder=$1
requirements="$(dirname "$0")/requirements.txt"
stamp="$folder/lakeshift-requirements.txt"

if cmp -s "$requirements" "$stamp"; then
  exit 0
fi
echo "Installing scripts/requirements.txt into $folder …"
if [ ! -x "$folder/bin/python" ]; then
  python3 -m venv "$folder" || {
    echo "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
    exit 2
  }
fi
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$stamp"
