"""search_peer.py SEED STUDIES: Optuna's TPE with its defaults on the functions of tests/actors/hpo/objectives.hpp."""
import json
import math
import sys
import time

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
A = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
P = [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
     [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
C = [1.0, 1.2, 3.0, 3.2]


def sphere(xs):
    return sum((x - 1) ** 2 for x in xs)


def branin(x, y):
    a = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return a * a + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def mixed(kind, depth, rate):
    target = -2 if kind == "b" else -1
    return (math.log10(rate) - target) ** 2 + 0.3 * abs(depth - 7) + {"a": 1.5, "b": 0, "c": 0.7, "d": 2}[kind]


def hartmann6(xs):
    return -sum(c * math.exp(-sum(a * (x - 1e-4 * p) ** 2 for a, x, p in zip(As, xs, Ps))) for c, As, Ps in zip(C, A, P))


def ask_mixed(t):
    return mixed(t.suggest_categorical("kind", ["a", "b", "c", "d"]), t.suggest_int("depth", 1, 10),
                 t.suggest_float("rate", 1e-4, 1, log=True))


cases = {
    "sphere": (lambda t: sphere([t.suggest_float(f"x{i}", -5, 5) for i in range(5)]), 100, sphere([0] * 5)),
    "branin": (lambda t: branin(t.suggest_float("x", -5, 10), t.suggest_float("y", 0, 15)), 60, branin(2.5, 7.5)),
    "mixed": (ask_mixed, 60, mixed("a", 6, 1e-2)),
    "hartmann6": (lambda t: hartmann6([t.suggest_float(f"x{i}", 0, 1) for i in range(6)]), 100, hartmann6([0.5] * 6)),
}


def best_after(ask, trials, seed):
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(ask, n_trials=trials)
    return study.best_value


seed, studies = int(sys.argv[1]), int(sys.argv[2])
best = {name: [best_after(ask, trials, seed + s) for s in range(studies)] for name, (ask, trials, _) in cases.items()}
begin = time.monotonic()
many = best_after(cases["sphere"][0], 1000, seed)
print(json.dumps({"version": optuna.__version__, "best": best, "middle": {name: c[2] for name, c in cases.items()},
                  "trials": 1000, "seconds": time.monotonic() - begin, "best_of_many": many}))
