"""Runs ours and Optuna in turn, checks that both minimise the same functions, prints a table and one JSON line per figure."""
import json
import statistics
import subprocess
import sys

ours, peer, pairs, studies = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def run(*command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


a, b = [], []
for i in range(pairs):
    seed = str(1000 + i * studies)
    a.append(run(ours, seed, str(studies)))
    b.append(run(sys.executable, peer, seed, str(studies)))
    for name, value in a[-1]["middle"].items():
        if abs(value - b[-1]["middle"][name]) > 1e-9 * max(1, abs(value)):
            sys.exit(f"{name} is not the same function: {value} here, {b[-1]['middle'][name]} there")
name = f"Optuna {b[0]['version']}"
speed = lambda runs: statistics.median(r["trials"] / r["seconds"] for r in runs)
print(f"{pairs} pairs of {studies} studies, one thread, the functions agree; medians of the best value (smaller is better)")
print(f"  {'':24}{'flywheel':>14}{name:>16}")
print(f"  {'trials/s at 1,000':24}{speed(a):14.0f}{speed(b):16.0f}")
figures = [("search_tpe_speed", round(speed(a), 1), "trials/s", round(speed(b), 1))]
for function in a[0]["best"]:
    mine, theirs = (statistics.median([v for r in runs for v in r["best"][function]]) for runs in (a, b))
    print(f"  {function:24}{mine:14.5f}{theirs:16.5f}")
    figures.append((f"search_best_{function}", float(f"{mine:.5g}"), "median best value", float(f"{theirs:.5g}")))
for figure, value, unit, peer_value in figures:
    print(json.dumps({"name": figure, "value": value, "unit": unit, "peer": name, "peer_value": peer_value,
                      "ratio": round(value / peer_value, 3) if peer_value else None}))
