#!/usr/bin/env bash
# about: training steps of the tabular network, batches of 256 rows and 20 features, beside the same network in PyTorch
# Arguments: [--pairs N] [--steps N]
set -euo pipefail
pairs=5 steps=300
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    *) echo "usage: bench/run tabular [--pairs N] [--steps N]" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/peers/install.sh" train_cpu) # the same PyTorch
folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-tabular.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$python" "$here/tabular_compare.py" "$FLYWHEEL_BUILD/bench_tabular" "$here/tabular_peer.py" "$folder" "$pairs" "$steps"
