#!/usr/bin/env bash
# bench/peers/install.sh NAME: makes bench/peers/.venv/NAME with what bench/peers/requirements-NAME.txt pins, and prints
# the path of its python. Quiet, safe to repeat, and quick when nothing changed. Only benchmarks use it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${1:-}
requirements="$here/requirements-$name.txt"
if [ -z "$name" ] || [ ! -f "$requirements" ]; then
  echo "usage: bench/peers/install.sh NAME, one of:" >&2
  for file in "$here"/requirements-*.txt; do
    [ -e "$file" ] && basename "$file" .txt | sed 's/^requirements-/  /' >&2
  done
  exit 2
fi
if grep -vE '^[[:space:]]*(#|$|-)|==' "$requirements" >&2; then
  echo "bench/peers/install.sh: the lines above pin no version; write name==version" >&2
  exit 2
fi
venv="$here/.venv/$name"
wanted="$(python3 --version) $(sha256sum <"$requirements")"
mkdir -p "$here/.venv"
# One installer at a time; a half-made environment has no stamp and is made again.
exec 9>"$here/.venv/$name.lock"
flock 9
if [ "$(cat "$venv/installed" 2>/dev/null || true)" != "$wanted" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv" >&2
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" >&2
  echo "$wanted" >"$venv/installed"
fi
echo "$venv/bin/python"
