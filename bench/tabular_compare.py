"""Trains the tabular network and PyTorch's in turn, checks that the losses agree, prints a table and a JSON line per figure."""

import json
import os
import shutil
import statistics
import subprocess
import sys

ours, peer, folder, pairs, steps, compiled = *sys.argv[1:4], *map(int, sys.argv[4:7])
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
weights = f"{folder}/tabular.weights"
subprocess.run([ours, "weights", weights], check=True)
environment = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=f"{folder}/compiled", **({"LD_PRELOAD": JEMALLOC} if os.path.exists(JEMALLOC) else {}))


def start(command, env=None):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def turn(name, n):
    runs[name].stdin.write(f"{n}\n")
    runs[name].stdin.flush()
    answer = runs[name].stdout.readline().split()
    return tuple(map(float, answer)) if answer else sys.exit(f"{name[0]} on {name[1]} thread(s) ended")


# Both on one thread and on two, and PyTorch also compiled: of each whichever is faster counts.
runs = {}
for threads in ("1", "2"):
    runs["flywheel", threads] = start([ours, "serve", weights, threads])
    runs["PyTorch", threads] = start([sys.executable, peer, weights, threads], environment)
    if shutil.which("g++") and compiled:  # torch.compile calls it
        runs["PyTorch compiled", threads] = start([sys.executable, peer, weights, threads, "compile"], environment)
version = [p.stdout.readline().strip() for name, p in runs.items() if name[0] != "flywheel"][0]

# The answers are held together over the first steps. Later, Adam turns differences of rounding into steps of full size
# wherever a gradient is close to nothing, and two right programs part.
worst = 0.0
for _ in range(10):
    losses = [turn(name, 1)[1] for name in runs]
    worst = max(worst, max(losses) - min(losses))
if not worst < 1e-4:
    sys.exit(f"the losses of the first steps differ by {worst}: {losses}")

speeds = {name: [] for name in runs}
for i in range(pairs + 1):  # the first is a warm-up
    for name in runs:
        seconds, _ = turn(name, steps)
        if i > 0:
            speeds[name].append(steps / seconds)
for p in runs.values():
    p.stdin.close()
    p.wait()
median = {name: statistics.median(s) for name, s in speeds.items()}
print(f"{pairs} turns of {steps} steps, 256 rows, 20 features, fp32; the losses of the first 10 steps agree to {worst:.1e}")
for (name, threads), value in median.items():
    print(f"  {name:17}{threads} thread(s){value:10.0f} steps/s")
mine, theirs = (max(v for k, v in median.items() if k[0].startswith(name)) for name in ("flywheel", "PyTorch"))
print(json.dumps({"name": "tabular_training", "value": round(mine, 1), "unit": "steps/s", "peer": f"PyTorch {version}",
                  "peer_value": round(theirs, 1), "ratio": round(mine / theirs, 3)}))
