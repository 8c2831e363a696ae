"""Trains ours and PyTorch's in turn, checks that the losses agree, prints a table and one JSON line per figure."""

import json
import os
import statistics
import subprocess
import sys

ours, peer, root, folder, pairs, threads = *sys.argv[1:5], int(sys.argv[5]), sys.argv[6]
steps_wanted = int(sys.argv[7]) if len(sys.argv) > 7 else None
MODELS = {"gpt2-124m": (4 * 64, 4), "llama-30m": (8 * 256, 2)}  # tokens and steps a turn
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"

environment = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
if os.path.exists(JEMALLOC):
    # As PyTorch's performance guide advises.
    environment["LD_PRELOAD"] = JEMALLOC
    environment["MALLOC_CONF"] = "oversize_threshold:1,background_thread:true,metadata_thp:auto,dirty_decay_ms:-1,muzzy_decay_ms:-1"
print("allocator of the peer:", "jemalloc" if os.path.exists(JEMALLOC) else "malloc (libjemalloc2 is not installed)")


def turn(process, steps):
    process.stdin.write(f"{steps}\n")
    process.stdin.flush()
    seconds, *losses = map(float, process.stdout.readline().split())
    return seconds, losses


figures = []
for model, (tokens, steps) in MODELS.items():
    steps = steps_wanted or steps
    weights = f"{folder}/{model}.weights"
    subprocess.run([ours, "weights", model, weights], check=True)
    start = lambda command, env: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    a = start([ours, "serve", model, weights, threads], dict(os.environ))
    b = start([sys.executable, peer, model, weights, threads, root], environment)
    version = b.stdout.readline().strip()
    speeds, worst = ([], []), 0.0
    for i in range(pairs + 1):  # the first is a warm-up
        answers = [turn(a, steps), turn(b, steps)]
        for mine, theirs in zip(answers[0][1], answers[1][1]):
            worst = max(worst, abs(mine - theirs))
        if i > 0:
            for speed, (seconds, _) in zip(speeds, answers):
                speed.append(steps * tokens / seconds)
    for process in (a, b):
        process.stdin.close()
        process.wait()
    os.remove(weights)
    if not worst < 1e-3:
        sys.exit(f"{model}: the losses differ by {worst}; the last are {answers[0][1][-1]} and {answers[1][1][-1]}")
    mine, theirs = map(statistics.median, speeds)
    print(f"{model}: {pairs} pairs of {steps} steps of {tokens} tokens, fp32, {threads} threads; losses agree to {worst:.1e}")
    print(f"  {'tokens/s':10}{'median':>10}{'best':>10}")
    print(f"  {'flywheel':10}{mine:10.0f}{max(speeds[0]):10.0f}")
    print(f"  {'PyTorch':10}{theirs:10.0f}{max(speeds[1]):10.0f}")
    figures.append({"name": "train_cpu_" + model.replace("-", "_"), "value": round(mine, 1), "unit": "tokens/s",
                    "peer": f"PyTorch {version}", "peer_value": round(theirs, 1), "ratio": round(mine / theirs, 3)})
for figure in figures:
    print(json.dumps(figure))
