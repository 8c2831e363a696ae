#!/usr/bin/env bash
# about: the matrix products of a training step beside oneDNN
# Arguments: [--pairs N] [--threads N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options gemm pairs=5 threads=2 -- "$@"
work_folder gemm
"$here/peers/build_gemm.sh" "$folder"
mapfile -t names < <(grep -oE '\{"[a-z0-9_]+"' "$here/gemm_shapes.hpp" | tr -d '{"')
python3 "$here/gemm_compare.py" "$FLYWHEEL_BUILD/bench_gemm" "$folder/gemm_onednn" "$pairs" "$threads" "${names[@]}"
