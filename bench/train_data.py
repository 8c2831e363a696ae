"""The data of the training benches: the formula of bench/train_model.hpp."""

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
