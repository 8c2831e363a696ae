"""PyTorch's side of bench/train_cpu: the same shapes, weights, data and steps, at its best settings.

    train_cpu_peer.py MODEL WEIGHTS THREADS SOURCE_ROOT      then as bench_train_cpu serve
"""

import sys

import numpy as np
import torch

model_name, weights, threads, root = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
sys.path[:0] = [root + "/tests/gpu/models", root + "/bench"]
from torch_transformer import Shape, Transformer
from train_data import answer_turns, tokens

torch.set_num_threads(threads)
torch.set_flush_denormal(True)

if model_name == "gpt2-124m":
    shape, sequences, length = Shape(50257, 1024, 12, 768, 12, 12, 3072, gpt2=True), 4, 64
else:
    shape, sequences, length = Shape(8192, 256, 8, 512, 8, 4, 1536), 8, 256


model = Transformer(shape)
model.load(torch.from_numpy(np.fromfile(weights, dtype=np.float32)))
optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)


def train(step):
    loss = model(*tokens(step, sequences, length, shape.vocabulary))
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss


answer_turns(train)
