"""Runs our products and oneDNN's in turn, checks that they agree, prints a table and one JSON line per figure.

    gemm_compare.py OURS PEER PAIRS THREADS NAME...
"""

import json
import os
import statistics
import subprocess
import sys

ours, peer, pairs, threads, names = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:]
environment = dict(os.environ, OMP_NUM_THREADS=threads)


def start(*command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def turn(process):
    process.stdin.write("3\n")
    process.stdin.flush()
    numbers = list(map(float, process.stdout.readline().split()))
    return numbers[0::2], numbers[1::2]


a, b = start(ours, threads), start(peer)
speeds = ([[] for _ in names], [[] for _ in names])
for i in range(pairs + 1):  # the first is a warm-up
    answers = [turn(a), turn(b)]
    for mine, theirs, name in zip(answers[0][1], answers[1][1], names):
        if abs(mine - theirs) > 1e-4 * abs(theirs):
            sys.exit(f"{name}: the answers differ: {mine} and {theirs}")
    if i > 0:
        for of, (figures, _) in zip(speeds, answers):
            for column, figure in zip(of, figures):
                column.append(figure)
for process in (a, b):
    process.stdin.close()
    process.wait()
print(f"GFLOP/s, fp32, {threads} threads, medians of {pairs} pairs")
print(f"  {'product':28}{'flywheel':>10}{'oneDNN':>10}{'ratio':>8}")
rows = [(name, statistics.median(x), statistics.median(y)) for name, x, y in zip(names, *speeds)]
for name, x, y in rows:
    print(f"  {name:28}{x:10.1f}{y:10.1f}{x / y:8.2f}")
for name, x, y in rows:
    print(json.dumps({"name": f"gemm_{name}", "value": round(x, 1), "unit": "GFLOP/s", "peer": "oneDNN (Debian's) sgemm", "peer_value": round(y, 1), "ratio": round(x / y, 3)}))
