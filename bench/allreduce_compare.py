"""Runs ours and the peers in turn, prints a table and one JSON line per figure. Every program checks its own answer first."""
import json
import os
import statistics
import subprocess
import sys
import tempfile

ours, folder, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3])
sizes = [int(s) for s in sys.argv[4:]]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed ({done.returncode}):\n{done.stderr}")
    return json.loads(done.stdout)


def plain_gloo(size, rounds):
    with tempfile.TemporaryDirectory(dir=folder) as store:
        return run(os.path.join(folder, "allreduce_gloo"), str(size), str(rounds), store)


def open_mpi(size, rounds):
    return run("mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", os.path.join(folder, "allreduce_mpi"), str(size), str(rounds))


version = subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout.split("\n")[0].replace("mpirun (Open MPI)", "Open MPI").strip()
ways = {
    "flywheel, in place": lambda size, rounds: run(ours, "reduce", "arena", str(size), str(rounds)),
    version: open_mpi,
    "flywheel, any memory": lambda size, rounds: run(ours, "reduce", "any", str(size), str(rounds)),
    "Gloo ring over TCP": plain_gloo,
    "flywheel over Gloo": lambda size, rounds: run(ours, "reduce", "gloo", str(size), str(rounds)),
}
figures = []
print(f"two ranks, f32 sum, bus bandwidth in GB/s: median of {pairs} runs in turn, each the median of its rounds (best round of all)")
print(f"  {'':22}" + "".join(f"{f'{m} MB':>20}" for m in sizes))
rates = {name: {} for name in ways}
for megabytes in sizes:
    size = megabytes * 1000 * 1000 // 64 * 64
    rounds = max(5, min(60, 400 // megabytes))
    runs = {name: [] for name in ways}
    for _ in range(pairs):
        for name, way in ways.items():
            runs[name].append(way(size, rounds))
    for name, all_runs in runs.items():
        rates[name][megabytes] = (statistics.median(r["bus_gb_s"] for r in all_runs), size / min(r["best"] for r in all_runs) / 1e9)
for name, by_size in rates.items():
    print(f"  {name:22}" + "".join(f"{f'{by_size[m][0]:.2f} ({by_size[m][1]:.2f})':>20}" for m in sizes))
for megabytes in sizes:
    for mine, peer in (("flywheel, in place", version), ("flywheel, any memory", version), ("flywheel, in place", "Gloo ring over TCP"),
                       ("flywheel over Gloo", "Gloo ring over TCP")):
        a, b = rates[mine][megabytes][0], rates[peer][megabytes][0]
        label = {"flywheel, in place": "in_place", "flywheel, any memory": "any_memory", "flywheel over Gloo": "over_gloo"}[mine]
        beside = "mpi" if peer == version else "gloo"
        figures.append((f"allreduce_{label}_{megabytes}mb_vs_{beside}", round(a, 3), "GB/s bus", peer, round(b, 3)))

steps = [run(ours, "step", "5") for _ in range(max(1, pairs // 2))]
middle = lambda key: statistics.median(s[key] for s in steps)
print(f"training step of 16 linear layers of 1024 x 1024, 256 tokens a rank ({steps[0]['gflop']} GFLOP, {steps[0]['gradient_mb']} MB of gradients a "
      f"rank), two ranks with one core each, buckets of 8 MiB:")
print(f"  no communication {middle('alone_s') * 1e3:.1f} ms, overlapped {middle('overlapped_s') * 1e3:.1f} ms, "
      f"after backward {middle('apart_s') * 1e3:.1f} ms; exposed {middle('exposed') * 100:.1f} % and {middle('exposed_apart') * 100:.1f} %")
figures.append(("allreduce_exposed_share", round(middle("exposed") * 100, 2), "% of the step", "goal", 10))
figures.append(("allreduce_step_overlapped", round(middle("overlapped_s"), 4), "s", "reduced after backward", round(middle("apart_s"), 4)))
for name, value, unit, peer, peer_value in figures:
    print(json.dumps({"name": name, "value": value, "unit": unit, "peer": peer, "peer_value": peer_value, "ratio": round(value / peer_value, 3)}))
