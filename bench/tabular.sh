#!/usr/bin/env bash
# about: training steps of the tabular network, batches of 256 rows and 20 features, beside the same network in PyTorch
# Arguments: [--pairs N] [--steps N] [--compiled 0|1]; 0 leaves out torch.compile, for where it does not run
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options tabular pairs=5 steps=300 compiled=1 -- "$@"
python=$("$here/peers/install.sh" train_cpu) # the same PyTorch
work_folder tabular
"$python" "$here/tabular_compare.py" "$FLYWHEEL_BUILD/bench_tabular" "$here/tabular_peer.py" "$folder" "$pairs" "$steps" "$compiled"
