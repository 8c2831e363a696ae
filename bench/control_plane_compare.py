"""Runs ours and Dask in turn, prints a table and one JSON line per figure."""
import json
import shutil
import statistics
import subprocess
import sys
import time

ours, peer, folder, pairs, trials = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
slots, callers = "2", "16"


def run(*command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.splitlines()[-1])


many, single, dask = [], [], []
for i in range(pairs):
    many.append(run(ours, f"{folder}/many{i}", slots, callers, str(trials)))
    single.append(run(ours, f"{folder}/one{i}", slots, "1", str(trials // 10)))
    dask.append(run(sys.executable, peer, slots, callers, str(trials)))
srun = None
if shutil.which("srun") and subprocess.run(["srun", "-N1", "true"], capture_output=True).returncode == 0:
    times = []
    for i in range(20):
        begin = time.perf_counter()
        subprocess.run(["srun", "-N1", "true"], check=True)
        times.append(time.perf_counter() - begin)
    srun = 1 / statistics.median(times)
rate = lambda runs: statistics.median(r["trials"] / r["seconds"] for r in runs)
middle = lambda runs, key: statistics.median(r[key] for r in runs)
name = f"Dask {dask[0]['version']}"
print(f"{pairs} pairs of {trials} trials that do nothing, {slots} worker processes; ours writes two durable events a trial")
print(f"  {'':34}{'flywheel':>12}{name:>18}")
print(f"  {'trials/s, ' + callers + ' on their way':34}{rate(many):12.0f}{rate(dask):18.0f}")
print(f"  {'one alone: p50 ms':34}{middle(single, 'p50_ms'):12.2f}{middle(dask, 'p50_ms'):18.2f}")
print(f"  {'one alone: p99 ms':34}{middle(single, 'p99_ms'):12.2f}{middle(dask, 'p99_ms'):18.2f}")
print(f"  srun -N1 true, one after the other: {'no Slurm is running here' if srun is None else f'{srun:.1f}/s'}")
figures = [("control_plane_trials_per_second", rate(many), "trials/s", name, rate(dask)),
           ("control_plane_latency_p50", middle(single, "p50_ms"), "ms", name, middle(dask, "p50_ms")),
           ("control_plane_latency_p99", middle(single, "p99_ms"), "ms", name, middle(dask, "p99_ms"))]
if srun is not None:
    figures.append(("control_plane_trials_beside_srun", rate(many), "trials/s", "srun -N1 true", srun))
for figure, value, unit, who, theirs in figures:
    print(json.dumps({"name": figure, "value": round(value, 3), "unit": unit, "peer": who, "peer_value": round(theirs, 3), "ratio": round(value / theirs, 3)}))
