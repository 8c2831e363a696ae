#!/usr/bin/env bash
# about: TPE on four test functions, trials per second and best value, beside Optuna's with its defaults
# Arguments: [--pairs N] [--studies N]
set -euo pipefail
pairs=5 studies=8
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --studies) studies=$2; shift 2 ;;
    *) echo "usage: bench/run search [--pairs N] [--studies N]" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/peers/install.sh" search)
"$python" "$here/search_compare.py" "$FLYWHEEL_BUILD/bench_search" "$here/search_peer.py" "$pairs" "$studies"
