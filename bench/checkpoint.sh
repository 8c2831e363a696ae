#!/usr/bin/env bash
# about: save, stall and restore of 700 MB of training state, beside raw write and read, memcpy, and torch.save and load
# Arguments: [--pairs N] [--megabytes N]
set -euo pipefail
pairs=5 megabytes=700
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --megabytes) megabytes=$2; shift 2 ;;
    *) echo "usage: bench/run checkpoint [--pairs N] [--megabytes N]" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/peers/install.sh" checkpoint)
folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-checkpoint.XXXXXX") # on the build's disk: /tmp may be memory
trap 'rm -rf "$folder"' EXIT
"$python" "$here/checkpoint_compare.py" "$FLYWHEEL_BUILD/bench_checkpoint" "$here/checkpoint_peer.py" "$folder" "$megabytes" "$pairs"
