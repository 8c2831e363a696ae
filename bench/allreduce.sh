#!/usr/bin/env bash
# about: all-reduce bus bandwidth of two ranks beside plain Gloo and Open MPI, and the exposed share of communication in a training step
# Arguments: [--pairs N] [--megabytes "1 16 64 256"]
set -euo pipefail
pairs=5 megabytes="1 16 64 256"
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --megabytes) megabytes=$2; shift 2 ;;
    *) echo "usage: bench/run allreduce [--pairs N] [--megabytes \"N ...\"]" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-allreduce.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$here/peers/build_allreduce.sh" "$folder"
# shellcheck disable=SC2086 # several sizes
python3 "$here/allreduce_compare.py" "$FLYWHEEL_BUILD/bench_allreduce" "$folder" "$pairs" $megabytes
