#!/usr/bin/env bash
# about: files between head and node over the loopback, encrypted and checked, beside a raw TCP copy of the same file
# Arguments are handed to bench_transfer, for example: bench/run transfer --megabytes 256 --pairs 5
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
work_folder transfer
"$FLYWHEEL_BUILD/bench_transfer" "$folder" "$@"
