#!/usr/bin/env bash
# about: training steps of two transformers (124M, 30M) in fp32 on 2 threads, beside PyTorch at its best settings
# Arguments: [--pairs N] [--threads N] [--steps N]
set -euo pipefail
pairs=5 threads=2 steps=
while [ $# -gt 0 ]; do
  case $1 in
    --pairs) pairs=$2; shift 2 ;;
    --threads) threads=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    *) echo "usage: bench/run train_cpu [--pairs N] [--threads N] [--steps N]" >&2; exit 2 ;;
  esac
done
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/peers/install.sh" train_cpu)
folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-train_cpu.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$python" "$here/train_cpu_compare.py" "$FLYWHEEL_BUILD/bench_train_cpu" "$here/train_cpu_peer.py" "$FLYWHEEL_ROOT" "$folder" "$pairs" "$threads" $steps
