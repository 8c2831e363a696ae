#!/usr/bin/env bash
# about: all-reduce bus bandwidth of two ranks beside plain Gloo and Open MPI, and the exposed share of communication in a training step
# Arguments: [--pairs N] [--megabytes "1 16 64 256"]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options allreduce pairs=5 megabytes="1 16 64 256" -- "$@"
work_folder allreduce
"$here/peers/build_allreduce.sh" "$folder"
# shellcheck disable=SC2086 # several sizes
python3 "$here/allreduce_compare.py" "$FLYWHEEL_BUILD/bench_allreduce" "$folder" "$pairs" $megabytes
