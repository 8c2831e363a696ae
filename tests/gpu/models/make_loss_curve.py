"""Prints 200 losses of two small transformers in PyTorch, for tests/gpu/models/transformer_curve_test.cpp.

    python3 tests/gpu/models/make_loss_curve.py > tests/gpu/models/torch_loss_curve.txt

Weights, data and rates are made by the formulas below, which the test repeats in C++.
"""

import math
import sys

import torch

sys.path.insert(0, __file__.rsplit("/", 1)[0])
from torch_transformer import Shape, Transformer

STEPS, SEQUENCES, TIME, VOCABULARY = 200, 6, 21, 53
MASK = (1 << 64) - 1


def hashed(n):
    """splitmix64's output for state n."""
    z = (n + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def weights(model):
    """Uniform in +-0.08 by the index in the whole array; gains around 1."""
    flat, at = [], 0
    for weight, _, _ in model.blocks():
        gain = any(weight is n.weight for n in model.modules() if "Norm" in type(n).__name__)
        for i in range(weight.numel()):
            flat.append((hashed(at + i) / 2.0**64 - 0.5) * 0.16 + (1.0 if gain else 0.0))
        at += weight.numel()
    return torch.tensor(flat, dtype=torch.float64).float()


def tokens(step):
    """Each token follows from the one before but for one of four choices: there is something to learn, and a floor."""
    rows = []
    for b in range(SEQUENCES):
        row = [hashed(1000003 * step + b) % VOCABULARY]
        for t in range(TIME):
            row.append((3 * row[-1] + 7 * (hashed((step * SEQUENCES + b) * 101 + t) % 4) + 1) % VOCABULARY)
        rows.append(row)
    both = torch.tensor(rows)
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


def rate(step):
    """cosine_schedule{0.003, 0.1, 20, 200}"""
    if step < 20:
        return 0.003 * (step + 1) / 20
    return 0.003 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 20) / 180)))


def curve(shape):
    model = Transformer(shape)
    model.load(weights(model))
    optimiser = torch.optim.AdamW(model.groups(0.1), lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    for step in range(STEPS):
        loss = model(*tokens(step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        optimiser.step()
        yield loss.item()


torch.manual_seed(0)
torch.set_num_threads(1)
llama = Shape(VOCABULARY, 24, layers=2, width=48, heads=6, kv_heads=2, hidden=80, tied=False)
gpt2 = Shape(VOCABULARY, 24, layers=2, width=48, heads=4, kv_heads=4, hidden=192, gpt2=True)
print("# Made by make_loss_curve.py with PyTorch", torch.__version__)
print("# loss of llama, loss of gpt2; a line a step")
for a, b in zip(curve(llama), curve(gpt2)):
    print("%.7f %.7f" % (a, b))
