"""Runs ours and the peer in turn, checks that both count the same, prints a table and one JSON line per figure."""
import json
import os
import statistics
import subprocess
import sys

ours, peer, path, pairs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
limit = 256 * 1000 * 1000


def run(*command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


with open(path, "rb") as file:  # both find the file in the page cache
    while file.read(1 << 24):
        pass
figures = []
for threads in (1, 2):
    a, b = [], []
    for _ in range(pairs):
        a.append(run(ours, "check", path, str(threads)))
        b.append(run(sys.executable, peer, path, str(threads)))
        if a[-1]["counts"] != b[-1]["counts"]:
            sys.exit(f"the counts differ:\n  ours   {a[-1]['counts']}\n  duckdb {b[-1]['counts']}")
    rate = lambda runs: statistics.median(r["bytes"] / r["seconds"] / 1e9 for r in runs)
    burnt = lambda runs: statistics.median(r["cpu"] for r in runs)
    memory = lambda runs: max(r["rss"] for r in runs)
    name = f"DuckDB {b[0]['version']}"
    print(f"{threads} thread{'s' if threads > 1 else ''}, {os.path.getsize(path) / 1e6:.0f} MB, {pairs} pairs, counts agree: {a[0]['counts']}")
    print(f"  {'':14}{'GB/s (median)':>15}{'each run':>40}{'CPU s':>8}{'peak RSS MB':>13}")
    for label, runs in (("flywheel", a), (name, b)):
        each = " ".join(f"{r['bytes'] / r['seconds'] / 1e9:.2f}" for r in runs)
        print(f"  {label:14}{rate(runs):15.2f}{each:>40}{burnt(runs):8.2f}{memory(runs) / 1e6:13.0f}")
    figures.append(("steward_check_%d_thread%s" % (threads, "s" if threads > 1 else ""), round(rate(a), 3), "GB/s", name, round(rate(b), 3)))
    figures.append(("steward_cpu_%d_thread%s" % (threads, "s" if threads > 1 else ""), round(burnt(a), 3), "s of CPU", name, round(burnt(b), 3)))
    figures.append(("steward_memory_%d_thread%s" % (threads, "s" if threads > 1 else ""), round(memory(a) / 1e6, 1), "MB peak RSS", name, round(memory(b) / 1e6, 1)))
    if memory(a) > limit:
        sys.exit(f"ours used {memory(a) / 1e6:.0f} MB, more than {limit / 1e6:.0f}")
for name, value, unit, peer_name, peer_value in figures:
    print(json.dumps({"name": name, "value": value, "unit": unit, "peer": peer_name, "peer_value": peer_value,
                      "ratio": round(value / peer_value, 3)}))
