"""Trains ours and PyTorch's on the GPU in turn, checks that the losses agree, prints a table and one JSON line per figure.

    train_gpu_compare.py BUILD SOURCE_ROOT FOLDER DEVICE PAIRS STEPS SEQUENCES TIME PRODUCTS
"""

import json
import os
import statistics
import subprocess
import sys

build, root, folder, device, pairs, steps, sequences, length, products = *sys.argv[1:5], *map(int, sys.argv[5:9]), sys.argv[9]
model = "gpt2-124m"
weights = f"{folder}/{model}.weights"
subprocess.run([f"{build}/bench_train_cpu", "weights", model, weights], check=True)


def start(command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(process, count):
    process.stdin.write(f"{count}\n")
    process.stdin.flush()
    answer = process.stdout.readline().split()
    if not answer:
        sys.exit(f"train_gpu: {process.args[0]} ended; what it said is above")
    return float(answer[0]), list(map(float, answer[1:]))


ours = start([f"{build}/bench_train_gpu", device, model, weights, str(sequences), str(length), products])
peer = start([sys.executable, f"{root}/bench/train_gpu_peer.py", device, model, weights, str(sequences), str(length), root])
version = peer.stdout.readline().strip()
speeds, worst = ([], []), 0.0
for i in range(pairs + 2):  # two to warm up: the peer compiles, cuBLASLt chooses
    answers = [turn(ours, steps), turn(peer, steps)]
    for mine, theirs in zip(answers[0][1], answers[1][1]):
        worst = max(worst, abs(mine - theirs))
    if i > 1:
        for speed, (seconds, _) in zip(speeds, answers):
            speed.append(steps * sequences * length / seconds)
for process in (ours, peer):
    process.stdin.close()
    process.wait()
os.remove(weights)
if not worst < 0.05:  # of 10.8 nats at first; both multiply in bf16
    sys.exit(f"{model}: the losses differ by {worst}; the last are {answers[0][1][-1]} and {answers[1][1][-1]}")
mine, theirs = map(statistics.median, speeds)
print(f"{model}: {pairs} pairs of {steps} steps of {sequences} x {length} tokens, {products}; losses agree to {worst:.1e}")
print(f"  {'tokens/s':10}{'median':>10}{'best':>10}")
print(f"  {'flywheel':10}{mine:10.0f}{max(speeds[0]):10.0f}")
print(f"  {'PyTorch':10}{theirs:10.0f}{max(speeds[1]):10.0f}")
where, how = ("gpu", "compiled") if device == "cuda" else ("host_table", "eager")
print(json.dumps({"name": f"train_{where}_gpt2_124m_{products}", "value": round(mine, 1), "unit": "tokens/s",
                  "peer": f"PyTorch {version}, {how}, bf16 autocast", "peer_value": round(theirs, 1), "ratio": round(mine / theirs, 3)}))
