"""torch.save + fsync and torch.load of a state of the same size; prints {"seconds": ...} as bench_checkpoint does.

The load is torch's ordinary best: from a path, mmap=False (every byte is in memory when it returns), weights_only=True, into
memory that it allocates itself. It is the second in its process: the first pays once for imports and for the allocator.

usage: checkpoint_peer.py FOLDER MEGABYTES save|load_warm|load_cold
"""
import json
import os
import resource
import sys
import time

import torch

folder, megabytes, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
path = os.path.join(folder, "torch.pt")
torch.manual_seed(1)
elements = megabytes * 1_000_000 // 4 // 3
width, layers = 768, 12
rows = elements // layers // 12 // width * 11


def make():
    state = {}
    for kind in ("weight", "adamw.m", "adamw.v"):
        state[kind + ".embedding"] = torch.randn(elements // 12 // width, width)
        for layer in range(layers):
            for big in ("attention", "up", "down"):
                state[f"{kind}.layer{layer}.{big}"] = torch.randn(rows // 3, width)
            for small in ("norm1", "norm2", "bias1", "bias2"):
                state[f"{kind}.layer{layer}.{small}"] = torch.randn(width)
    return state


def cpu_so_far():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def load():
    return torch.load(path, map_location="cpu", mmap=False, weights_only=True)


if mode == "save":
    state = make()
    if os.path.exists(path):
        os.remove(path)
    begin, cpu = time.perf_counter(), cpu_so_far()
    with open(path, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    seconds, cpu_seconds = time.perf_counter() - begin, cpu_so_far() - cpu
else:
    load()
    with open(path, "rb") as f:
        if mode == "load_cold":
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while f.read(1 << 23):
                pass
    begin, cpu = time.perf_counter(), cpu_so_far()
    state = load()
    seconds, cpu_seconds = time.perf_counter() - begin, cpu_so_far() - cpu
    expected = make()
    assert state.keys() == expected.keys() and all(torch.equal(state[k], expected[k]) for k in list(state)[-3:])
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "bytes": sum(t.numel() * 4 for t in state.values())}))
