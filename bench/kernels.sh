#!/usr/bin/env bash
# about: CPU operations of training against the machine's limit: multiply-adds in registers, or a pass over memory
# Arguments: [--threads N]
set -euo pipefail
threads=2
while [ $# -gt 0 ]; do
  case $1 in
    --threads) threads=$2; shift 2 ;;
    *) echo "usage: bench/run kernels [--threads N]" >&2; exit 2 ;;
  esac
done
"$FLYWHEEL_BUILD/bench_kernels" "$threads"
