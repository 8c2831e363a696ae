"""PyTorch's side of bench/train_cpu: the same shapes, weights, data and steps, at its best settings.

    train_cpu_peer.py MODEL WEIGHTS THREADS SOURCE_ROOT      then as bench_train_cpu serve
"""

import sys
import time

import numpy as np
import torch

model_name, weights, threads, root = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
sys.path.insert(0, root + "/tests/gpu/models")
from torch_transformer import Shape, Transformer

torch.set_num_threads(threads)
torch.set_flush_denormal(True)

if model_name == "gpt2-124m":
    shape, sequences, length = Shape(50257, 1024, 12, 768, 12, 12, 3072, gpt2=True), 4, 64
else:
    shape, sequences, length = Shape(8192, 256, 8, 512, 8, 4, 1536), 8, 256


def hashed(n):
    with np.errstate(over="ignore"):
        z = n + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def tokens(step):
    n = (step * 64 + np.arange(sequences, dtype=np.uint64)[:, None]) * 2048 + np.arange(length + 1, dtype=np.uint64)[None, :]
    u = (hashed(n.astype(np.uint64)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    both = torch.from_numpy((u * u * shape.vocabulary).astype(np.int64))
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


model = Transformer(shape)
model.load(torch.from_numpy(np.fromfile(weights, dtype=np.float32)))
optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
print(torch.__version__, flush=True)
step = 0
for line in sys.stdin:
    losses = []
    start = time.perf_counter()
    for _ in range(int(line)):
        loss = model(*tokens(step))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        step += 1
    print("%.6f" % (time.perf_counter() - start), *("%.6f" % l for l in losses), flush=True)
