"""Runs ours and the peers in turn and prints the table and the figures.

usage: checkpoint_compare.py BENCH PEER FOLDER MEGABYTES PAIRS   (under the peers' python)
"""
import json
import os
import statistics
import subprocess
import sys

bench, peer, folder, megabytes, pairs = sys.argv[1:6]


def run(mode):
    ours = mode.split(":")
    command = [sys.executable, peer, folder, megabytes, ours[1]] if ours[0] == "torch" else [bench, folder, megabytes, mode]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


# What lies on the disk is read right after it was written: ours, the raw file and torch's in every round. The order turns
# from round to round, so that nobody always comes first.
writes = ["save", "raw", "raw_direct", "torch:save"]
reads = ["restore_fresh_warm", "read_fresh_warm", "torch:load_warm", "restore_warm", "read_warm", "restore_fresh_cold", "read_fresh_cold",
         "read_direct_fresh_cold", "torch:load_cold", "restore_cold", "read_cold", "read_direct_cold", "memcpy", "stall"]
modes = writes + reads
seconds, cpu, sizes = {m: [] for m in modes}, {m: [] for m in modes}, {}
for pair in range(int(pairs)):
    os.sync()
    for mode in modes if pair % 2 == 0 else writes[::-1] + reads[::-1]:
        r = run(mode)
        seconds[mode].append(r["seconds"])
        cpu[mode].append(r["cpu_seconds"])
        sizes[mode] = r["bytes"]
size = sizes["save"]
assert all(abs(s - size) < size / 100 for s in sizes.values()), sizes
median = {m: statistics.median(s) for m, s in seconds.items()}
names = {"save": "ours: save, hashed, fsynced, published", "raw": "write + fsync", "raw_direct": "O_DIRECT write + fsync", "torch:save": "torch.save + fsync",
         "restore_fresh_warm": "ours: restore, verified, warm", "read_fresh_warm": "read, warm", "torch:load_warm": "torch.load, warm",
         "restore_warm": "ours: restore into used memory, warm", "read_warm": "read into used memory, warm",
         "restore_fresh_cold": "ours: restore, verified, cold", "read_fresh_cold": "read, cold", "read_direct_fresh_cold": "O_DIRECT read, cold",
         "torch:load_cold": "torch.load, cold", "restore_cold": "ours: restore into used memory, cold", "read_cold": "read into used memory, cold",
         "read_direct_cold": "O_DIRECT read into used memory, cold", "memcpy": "memcpy of the state", "stall": "ours: training stalls"}
print(f"state of {size / 1e6:.0f} MB in {3 * (1 + 12 * 7)} tensors, medians of {pairs} alternating runs")
print(f"{'':44}{'median s':>10}{'best s':>10}{'GB/s':>8}{'CPU s':>8}")
for m in modes:
    print(f"{names[m]:44}{median[m]:10.3f}{min(seconds[m]):10.3f}{size / median[m] / 1e9:8.2f}{statistics.median(cpu[m]):8.3f}")
print()


def figure(name, mode, other, unit="GB/s"):
    if unit == "GB/s":
        value, peer_value = size / median[mode] / 1e9, size / median[other] / 1e9
    else:
        value, peer_value = median[mode], median[other]
    print(json.dumps({"name": name, "value": round(value, 4), "unit": unit, "peer": names[other], "peer_value": round(peer_value, 4),
                      "ratio": round(value / peer_value, 3)}, separators=(",", ":")))


figure("checkpoint_save_beside_raw", "save", "raw")
figure("checkpoint_save_beside_raw_direct", "save", "raw_direct")
figure("checkpoint_save_beside_torch", "save", "torch:save")
figure("checkpoint_stall", "stall", "memcpy", "s")
for heat in ("warm", "cold"):
    figure(f"checkpoint_restore_{heat}_beside_torch", f"restore_fresh_{heat}", f"torch:load_{heat}")
    figure(f"checkpoint_restore_{heat}_beside_raw", f"restore_fresh_{heat}", f"read_fresh_{heat}")
    figure(f"checkpoint_restore_{heat}_used_beside_raw", f"restore_{heat}", f"read_{heat}")
figure("checkpoint_restore_cold_beside_raw_direct", "restore_fresh_cold", "read_direct_fresh_cold")
figure("checkpoint_restore_cold_used_beside_raw_direct", "restore_cold", "read_direct_cold")
