"""PyTorch's side of bench/tabular: the same network, weights, data and steps, at its best settings.

    tabular_peer.py WEIGHTS THREADS [compile]      then as bench_tabular serve
"""

import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ROWS, FEATURES, SEGMENTS, WIDTH, HIDDEN, BLOCKS, BATCHES = 256, 20, 16, 8, 128, 2, 16
weights, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
torch.set_flush_denormal(True)


class Network(nn.Module):
    """gpu/models/tabular_network.hpp, without missing values (the data have none)."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.empty(FEATURES, SEGMENTS, WIDTH))
        self.bias = nn.Parameter(torch.empty(FEATURES, WIDTH))
        self.register_buffer("edges", torch.arange(SEGMENTS, dtype=torch.float32) / SEGMENTS)
        self.input = nn.Linear(FEATURES * WIDTH, HIDDEN)
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(BLOCKS + 1))
        self.first = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(BLOCKS))
        self.second = nn.ModuleList(nn.Linear(HIDDEN, HIDDEN) for _ in range(BLOCKS))
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x):
        parts = ((x.unsqueeze(-1) - self.edges) * SEGMENTS).clamp(0, 1)  # rows, features, segments
        z = torch.bmm(parts.transpose(0, 1), self.slope).transpose(0, 1) + self.bias
        h = self.input(F.relu(z).reshape(len(x), -1))
        for norm, first, second in zip(self.norms, self.first, self.second):
            h = h + second(F.relu(first(norm(h))))
        return self.head(F.relu(self.norms[-1](h)))

    @torch.no_grad()
    def load(self, flat):
        at = 0

        def take(*shape):
            nonlocal at
            size = int(np.prod(shape))
            at += size
            return flat[at - size : at].view(shape)

        for f in range(FEATURES):
            self.slope[f] = take(SEGMENTS, WIDTH)
            self.bias[f] = take(WIDTH)
            take(WIDTH)  # the answer to a missing value
        def linear(to):
            to.weight.copy_(take(*to.weight.shape[::-1]).t())
            to.bias.copy_(take(*to.bias.shape))
        linear(self.input)
        for norm, first, second in zip(self.norms, self.first, self.second):
            norm.weight.copy_(take(HIDDEN))
            norm.bias.copy_(take(HIDDEN))
            linear(first)
            linear(second)
        self.norms[-1].weight.copy_(take(HIDDEN))
        self.norms[-1].bias.copy_(take(HIDDEN))
        linear(self.head)
        assert at == flat.numel()


def hashed(n):
    with np.errstate(over="ignore"):
        z = n + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


data = []
for b in range(BATCHES):
    numbers = hashed(np.arange(b * ROWS * FEATURES, (b + 1) * ROWS * FEATURES, dtype=np.uint64)).astype(np.float32).reshape(ROWS, FEATURES)
    data.append((torch.from_numpy(numbers), torch.from_numpy((numbers[:, 0] + numbers[:, 1] > np.float32(1)).astype(np.int64))))

network = Network()
network.load(torch.from_numpy(np.fromfile(weights, dtype=np.float32)))
optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
answer = torch.compile(network) if "compile" in sys.argv[3:] else network
print(torch.__version__, flush=True)
step = 0
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
        x, label = data[step % BATCHES]
        loss = F.cross_entropy(answer(x), label)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        step += 1
    print("%.6f %.6f" % (time.perf_counter() - start, loss.item()), flush=True)
