"""PyTorch's side of bench/gang_recovery, a rank under torchrun: the same model, weights, data, steps and checkpoints as
`flywheel worker gang-train`, with DDP over Gloo. Says where it is in a small shared file, as our ranks do on their boards.

    gang_recovery_peer.py FOLDER WEIGHTS SOURCE_ROOT STEPS EVERY SEQUENCES
"""

import mmap
import os
import struct
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

folder, weights, root, steps, every, sequences = *sys.argv[1:4], *map(int, sys.argv[4:7])
sys.path[:0] = [root + "/tests/gpu/models", root + "/bench"]
import numpy as np
from torch_transformer import Shape, Transformer
from train_data import tokens

LENGTH = 32
rank, ranks, attempt = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
with open(f"{folder}/rank-{attempt}-{rank}.tmp", "wb") as f:
    f.write(bytes(24))
place = mmap.mmap(os.open(f"{folder}/rank-{attempt}-{rank}.tmp", os.O_RDWR), 24)  # pid, steps, when the first was over
struct.pack_into("<Q", place, 0, os.getpid())
os.rename(f"{folder}/rank-{attempt}-{rank}.tmp", f"{folder}/rank-{attempt}-{rank}")

torch.set_num_threads(1)
torch.set_flush_denormal(True)
# A store of its own for each attempt: through torchrun's, PyTorch 2.15 now and then reads the addresses of the attempt before and
# fails to connect.
dist.init_process_group("gloo", init_method=f"file://{folder}/store-{attempt}", rank=rank, world_size=ranks)
shape = Shape(512, 64, 2, 128, 4, 2, 256)
model = Transformer(shape)
model.load(torch.from_numpy(np.fromfile(weights, dtype=np.float32)))
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True)
first = 0
saved = f"{folder}/checkpoint.pt"
if os.path.exists(saved):
    state = torch.load(saved, weights_only=True)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    first = state["step"]
parallel = DistributedDataParallel(model)
share = sequences // ranks
loss = None
for step in range(first, steps):
    token, following = tokens(step, sequences, LENGTH, shape.vocabulary)
    mine = slice(rank * share, (rank + 1) * share)
    loss = parallel(token[mine], following[mine])
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    loss = loss.detach()
    dist.all_reduce(loss)
    if step == first:
        struct.pack_into("<Q", place, 16, time.monotonic_ns())
    struct.pack_into("<Q", place, 8, step - first + 1)
    if (step + 1) % every == 0 and rank == 0:  # as durable as ours
        with open(saved + ".tmp", "wb") as f:
            torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}, f)
            f.flush()
            os.fsync(f.fileno())
        os.rename(saved + ".tmp", saved)
        os.fsync(os.open(folder, os.O_RDONLY))
if rank == 0:
    print("loss", repr(loss.item() / ranks), torch.__version__, flush=True)
dist.destroy_process_group()
