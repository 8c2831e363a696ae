"""PyTorch's side of bench/train_gpu: the same network, weights, data and steps, with torch.compile, bf16 autocast, flash
attention as PyTorch picks it, and fused AdamW.

    train_gpu_peer.py DEVICE MODEL WEIGHTS SEQUENCES TIME SOURCE_ROOT      then as bench_train_gpu
"""

import sys

import numpy as np
import torch

place, model_name, weights, sequences, length, root = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
device = "cpu" if place == "host" else place  # host: to try this program
sys.path[:0] = [root + "/tests/gpu/models", root + "/bench"]
from torch_transformer import Shape, Transformer
from train_data import answer_turns, tokens

torch.set_float32_matmul_precision("high")
shape = Shape(50257, 1024, 12, 768, 12, 12, 3072, gpt2=True) if model_name == "gpt2-124m" else Shape(8192, 256, 8, 512, 8, 4, 1536)
model = Transformer(shape)
model.load(torch.from_numpy(np.fromfile(weights, dtype=np.float32)))
model.to(device)
optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=device == "cuda")
compiled = torch.compile(model) if device == "cuda" else model


def train(step):
    token, following = (x.to(device, non_blocking=True) for x in tokens(step, sequences, length, shape.vocabulary))
    with torch.autocast(device, dtype=torch.bfloat16):
        loss = compiled(token, following)
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss


answer_turns(train)
