"""Trains the tabular network and PyTorch's in turn, checks that the losses agree, prints a table and a JSON line per figure."""

import json
import os
import statistics
import subprocess
import sys

ours, peer, folder, pairs, steps = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"
weights = f"{folder}/tabular.weights"
subprocess.run([ours, "weights", weights], check=True)
environment = dict(os.environ, **({"LD_PRELOAD": JEMALLOC} if os.path.exists(JEMALLOC) else {}))


def start(command, env=None):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)


def turn(process, n):
    process.stdin.write(f"{n}\n")
    process.stdin.flush()
    return tuple(map(float, process.stdout.readline().split()))


# The peer on one thread and on two: whichever is faster is the one that counts.
runs = {"flywheel": start([ours, "serve", weights])}
for threads in ("1", "2"):
    runs[f"PyTorch, {threads} thread(s)"] = start([sys.executable, peer, weights, threads], environment)
version = [p.stdout.readline().strip() for name, p in runs.items() if name != "flywheel"][0]
speeds = {name: [] for name in runs}
worst = 0.0
for i in range(pairs + 1):  # the first is a warm-up
    answers = {name: turn(p, steps) for name, p in runs.items()}
    loss = answers["flywheel"][1]
    worst = max(worst, *(abs(a[1] - loss) for a in answers.values()))
    if i > 0:
        for name, (seconds, _) in answers.items():
            speeds[name].append(steps / seconds)
for p in runs.values():
    p.stdin.close()
    p.wait()
if not worst < 2e-2:
    sys.exit(f"the losses differ by {worst}: {answers}")
median = {name: statistics.median(s) for name, s in speeds.items()}
print(f"{pairs} turns of {steps} steps, 256 rows, 20 features, fp32; the losses agree to {worst:.1e}")
for name, value in median.items():
    print(f"  {name:22}{value:10.0f} steps/s")
best = max((v, k) for k, v in median.items() if k != "flywheel")
print(json.dumps({"name": "tabular_training", "value": round(median["flywheel"], 1), "unit": "steps/s",
                  "peer": f"PyTorch {version}", "peer_value": round(best[0], 1), "ratio": round(median["flywheel"] / best[0], 3)}))
