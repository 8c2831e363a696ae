"""torch.save + fsync and torch.load of a state of the same size; prints {"seconds": ...} as bench_checkpoint does.

usage: checkpoint_peer.py FOLDER MEGABYTES save|load_warm|load_cold
"""
import json
import os
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


if mode == "save":
    state = make()
    if os.path.exists(path):
        os.remove(path)
    begin = time.perf_counter()
    with open(path, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    seconds = time.perf_counter() - begin
else:
    with open(path, "rb") as f:
        if mode == "load_cold":
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while f.read(1 << 23):
                pass
    begin = time.perf_counter()
    state = torch.load(path, map_location="cpu", weights_only=True)
    seconds = time.perf_counter() - begin
    expected = make()
    assert state.keys() == expected.keys() and all(torch.equal(state[k], expected[k]) for k in list(state)[-3:])
print(json.dumps({"seconds": seconds, "bytes": sum(t.numel() * 4 for t in state.values())}))
