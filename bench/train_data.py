"""What the PyTorch sides of the training benches share: the data, by the formula of bench/train_model.hpp, and the turns."""

import sys
import time

import numpy as np
import torch


def hashed(n):
    with np.errstate(over="ignore"):
        z = n + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def tokens(step, sequences, length, vocabulary):
    n = (step * 64 + np.arange(sequences, dtype=np.uint64)[:, None]) * 2048 + np.arange(length + 1, dtype=np.uint64)[None, :]
    u = (hashed(n.astype(np.uint64)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    both = torch.from_numpy((u * u * vocabulary).astype(np.int64))
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


def answer_turns(train):
    """For each line "N" on standard input N steps of train(step), which returns the loss; answers "SECONDS LOSS LOSS ..."."""
    print(torch.__version__, flush=True)
    step = 0
    for line in sys.stdin:
        losses = []
        start = time.perf_counter()
        for _ in range(int(line)):
            losses.append(train(step).item())
            step += 1
        print("%.6f" % (time.perf_counter() - start), *("%.6f" % l for l in losses), flush=True)
