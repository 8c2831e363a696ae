#!/usr/bin/env bash
# about: CPU operations of training against the machine's limit: multiply-adds in registers, or a pass over memory
# Arguments: [--threads N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options kernels threads=2 -- "$@"
"$FLYWHEEL_BUILD/bench_kernels" "$threads"
