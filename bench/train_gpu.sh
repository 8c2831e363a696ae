#!/usr/bin/env bash
# about: training steps of GPT-2 124M in bf16 on a GPU, beside PyTorch with torch.compile (needs a GPU and its PyTorch)
# targets: bench_train_gpu bench_train_cpu
# Arguments: [--device cuda|host] [--pairs N] [--steps N] [--sequences N] [--time N] [--products bf16|tf32|f32]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options train_gpu device=cuda pairs=5 steps=10 sequences=16 time=1024 products=bf16 -- "$@"
# Where there is a GPU its own PyTorch is the peer; the pinned one knows CPUs only.
python=python3
if ! python3 -c 'import torch' 2>/dev/null; then
  python=$("$here/peers/install.sh" train_cpu)
fi
work_folder train_gpu
"$python" "$here/train_gpu_compare.py" "$FLYWHEEL_BUILD" "$FLYWHEEL_ROOT" "$folder" "$device" "$pairs" "$steps" "$sequences" "$time" "$products"
