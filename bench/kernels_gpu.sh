#!/usr/bin/env bash
# about: GPU operations of training against the card's limit: a copy in its memory, or a large product (needs a GPU)
# Arguments: [--device cuda|host] [--rows N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options kernels_gpu device=cuda rows=16384 -- "$@"
"$FLYWHEEL_BUILD/bench_kernels_gpu" "$device" "$rows"
