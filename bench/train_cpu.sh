#!/usr/bin/env bash
# about: training steps of two transformers (124M, 30M) in fp32 on 2 threads, beside PyTorch at its best settings
# Arguments: [--pairs N] [--threads N] [--steps N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options train_cpu pairs=5 threads=2 steps= -- "$@"
python=$("$here/peers/install.sh" train_cpu)
work_folder train_cpu
"$python" "$here/train_cpu_compare.py" "$FLYWHEEL_BUILD/bench_train_cpu" "$here/train_cpu_peer.py" "$FLYWHEEL_ROOT" "$folder" "$pairs" "$threads" $steps
