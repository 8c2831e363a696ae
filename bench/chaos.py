"""Random kill -9 and freezes over a running cluster under submission load: no acknowledged goal lost, no effect twice, nothing left behind."""
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

flywheel, folder, kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
state = f"{folder}/state"
env = dict(os.environ, FLYWHEEL_STATE=state)
dice = random.Random(seed)
print(f"seed {seed}")


def call(*words, timeout=60):
    return subprocess.run([flywheel, *words], env=env, capture_output=True, text=True, timeout=timeout)


def pids(*words):
    out = subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True).stdout.split()
    found = []
    for pid in out:
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if line.startswith(flywheel) and all(w in line for w in words):
            found.append(int(pid))
    return found


def workers():
    found = []
    for parent in pids("node"):
        out = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout.split()
        found += [int(p) for p in out]
    return found


def strike(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it had ended by itself


def start(*words, own=None):
    return subprocess.Popen([flywheel, *words, "--state", own or state], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)


with open(f"{os.environ['FLYWHEEL_ROOT']}/examples/churn/churn.csv") as f:
    rows = f.readlines()[:500]
os.makedirs(f"{folder}/g")
with open(f"{folder}/g/customers.csv", "w") as f:
    f.writelines(rows)
goal = """flywheel: 1
name: g%d
data:
  source: customers.csv
  split: {strategy: tail, holdout_rows: 150}
target: churn
metric: accuracy >= 0.5
search: {families: [gbt], folds: 2, budget: {trials: 2, wall_time: 300s, slot_seconds: 300}}
"""
if call("up", "--local", "3", "--slots", "1").returncode != 0:
    sys.exit("the cluster did not start")
address = json.load(open(f"{state}/run/cluster.json"))["address"]
certs = f"{state}/certs"
head = ("node", "--head", "--listen", address, "--certs", f"{certs}/head", "--slots", "1")
member = lambda n: ("node", "--join", address, "--certs", f"{certs}/{n}", "--slots", "1")
children, asked, accepted, struck = [], 0, set(), Counter()
waiting = []


def submit(n):
    path = f"{folder}/g/g{n}.yaml"
    if not os.path.exists(path):
        with open(path, "w") as f:
            f.write(goal % n)
    r = call("submit", path, "--approve", "-o", "name")
    if r.returncode == 0:
        accepted.add(r.stdout.strip())
    return r.returncode == 0


begin = time.time()
for k in range(kills):
    if len(waiting) < 4 and asked < 2 + k // 2:
        waiting.append(asked)
        asked += 1
    waiting = [n for n in waiting if not submit(n)]
    what = dice.choice(["worker", "worker", "node", "node", "freeze", "head"])
    struck[what] += 1
    if what == "worker":
        victims = workers()
        if victims:
            strike(dice.choice(victims), signal.SIGKILL)
    elif what == "head":
        for pid in pids("--head"):
            strike(pid, signal.SIGKILL)
        time.sleep(dice.random())
        children.append(start(*head))
    else:
        name = dice.choice(["node1", "node2"])
        for pid in pids("--join", f"certs/{name} "):
            strike(pid, signal.SIGSTOP if what == "freeze" else signal.SIGKILL)
            if what == "freeze":
                time.sleep(0.5 + 4 * dice.random())
                strike(pid, signal.SIGCONT)
        if what == "node":
            time.sleep(dice.random())
            children.append(start(*member(name), own=f"{state}/nodes/{name}"))
    time.sleep(dice.random())
seconds = time.time() - begin
until = time.time() + 240
while waiting and time.time() < until:
    waiting = [n for n in waiting if not submit(n)]


def journal():
    return json.loads(call("journal", "show", "--limit", "0", "-o", "json", timeout=120).stdout)


states = {}
while time.time() < until:
    states = {g["id"]: g["state"] for g in json.loads(call("goals", "-o", "json").stdout)}
    if all(states.get(g) == "done" for g in accepted):
        break
    time.sleep(0.5)
down = call("down")
for c in children:
    c.poll()
lost = sorted(g for g in accepted if g not in states)
undone = {g: states.get(g) for g in accepted if states.get(g) != "done"}
events = journal()
effects = Counter(e["key"] for e in events if e["kind"] == "effect_done")
ends = Counter((e["goal"], e["subject"]) for e in events if e["kind"] == "trial_state" and
               (e["body"] if isinstance(e["body"], dict) else json.loads(e["body"])).get("state") in ("completed", "pruned", "failed"))
twice = [k for k, n in effects.items() if n > 1]
models = json.loads(call("models", "-o", "json").stdout)
published = Counter(m["id"].split("/")[0] for m in models)
more = {m: n for m, n in published.items() if n > 1}
counted = [k for k, n in ends.items() if n > 1]
time.sleep(2)
orphans = pids()
verdict = call("journal", "verify").returncode
print(f"{kills} strokes in {seconds:.0f} s ({dict(struck)}), {len(accepted)} goals accepted, {len(effects)} effects, {len(ends)} trials ended, {len(events)} events")
print(f"  lost {lost}, not done {undone}, effects twice {twice}, published twice {more}, trials counted twice {counted}, left behind {len(orphans)}, journal {'verified' if verdict == 0 else 'DAMAGED'}")
for name, value in (("chaos_goals_lost", len(lost)), ("chaos_goals_not_done", len(undone)), ("chaos_effects_twice", len(twice) + len(more)),
                    ("chaos_trials_counted_twice", len(counted)), ("chaos_left_behind", len(orphans))):
    print(json.dumps({"name": name, "value": value, "unit": f"of {len(accepted)} goals, {kills} strokes", "peer": "the promise", "peer_value": 0, "ratio": None}))
if lost or undone or twice or more or counted or orphans or verdict != 0 or down.returncode != 0:
    sys.exit("a promise was broken")
