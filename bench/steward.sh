#!/usr/bin/env bash
# about: CSV parse + full contract check of 420 MB in one pass, beside DuckDB with the same types, checks and threads
# Arguments: [--pairs N] [--megabytes N]
set -euo pipefail
pairs=5 megabytes=420
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --megabytes) megabytes=$2; shift 2 ;;
    *) echo "usage: bench/run steward [--pairs N] [--megabytes N]" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/peers/install.sh" steward)
folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-steward.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$FLYWHEEL_BUILD/bench_steward" generate "$folder/customers.csv" "$megabytes"
"$python" "$here/steward_compare.py" "$FLYWHEEL_BUILD/bench_steward" "$here/steward_peer.py" "$folder/customers.csv" "$pairs"
