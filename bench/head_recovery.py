"""Kills the head of a cluster again and again, and measures until the new one has accepted a goal durably, from outside."""
import json
import os
import signal
import statistics
import subprocess
import sys
import time

flywheel, filler, folder, goals, kills = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
state, certs = f"{folder}/state", f"{folder}/certs"
env = dict(os.environ, FLYWHEEL_STATE=state)


def call(*words, **more):
    return subprocess.run([flywheel, *words], env=env, capture_output=True, text=True, timeout=60, **more)


events = subprocess.run([filler, state, goals], check=True, capture_output=True, text=True).stdout.strip()
call("certs", "init", "bench", "--dir", f"{certs}/ca", check=True)
for who, role in (("head", "node"), ("me", "submitter")):
    call("certs", "issue", who, "--role", role, "--host", "127.0.0.1", "--dir", f"{certs}/ca", "--to", f"{certs}/{who}", check=True)
os.makedirs(f"{folder}/g", exist_ok=True)
with open(f"{os.environ['FLYWHEEL_ROOT']}/examples/churn/churn.csv") as f:
    rows = f.readlines()[:400]
with open(f"{folder}/g/customers.csv", "w") as f:
    f.writelines(rows)
goal = """flywheel: 1
name: g%d
data:
  source: customers.csv
  split: {strategy: tail, holdout_rows: 100}
target: churn
metric: accuracy >= 0.5
search: {families: [gbt], folds: 2, budget: {trials: 1, wall_time: 60s, slot_seconds: 60}}
"""


def start(port):
    return subprocess.Popen([flywheel, "node", "--head", "--listen", f"127.0.0.1:{port}", "--certs", f"{certs}/head", "--slots", "0"],
                            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def submit(n, address):
    path = f"{folder}/g/g{n}.yaml"
    with open(path, "w") as f:
        f.write(goal % n)
    return call("submit", path, "-o", "name", "--cluster", address, "--certs", f"{certs}/me")


head = start(0)
while not os.path.exists(f"{state}/run/cluster.json"):
    time.sleep(0.01)
address = json.load(open(f"{state}/run/cluster.json"))["address"]
accepted, times, bare = [], [], []
for n in range(kills):
    os.kill(head.pid, signal.SIGKILL)
    head.wait()
    begin = time.perf_counter()
    head = start(address.split(":")[1])
    while True:
        r = submit(n, address)
        if r.returncode == 0:
            break
        if head.poll() is not None:
            sys.exit(f"the head ended: {head.returncode}")
    times.append(time.perf_counter() - begin)
    accepted.append(r.stdout.strip())
    begin = time.perf_counter()
    if submit(n, address).returncode != 0:  # the same goal again: the client alone, beside a head that is there
        sys.exit("a goal that was accepted is refused")
    bare.append(time.perf_counter() - begin)
known = set(call("goals", "-o", "name").stdout.split())
os.kill(head.pid, signal.SIGKILL)
lost = [g for g in accepted if g not in known]
if lost:
    sys.exit(f"accepted and lost: {lost}")
verdict = call("journal", "verify")
if verdict.returncode != 0:
    sys.exit(f"the journal is damaged: {verdict.stdout}")
times.sort()
p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
median, client = statistics.median(times), statistics.median(bare)
print(f"{kills} kills of the head over {goals} goals ({events} events): no accepted goal lost, the journal verified")
print(f"  kill -9 to the next goal accepted, client included: median {median:.2f} s, p99 {p99:.2f} s, worst {times[-1]:.2f} s")
print(f"  the client alone, beside a head that is there: {client:.2f} s")
print(json.dumps({"name": "head_recovery_p99", "value": round(p99, 3), "unit": "s", "peer": "the limit", "peer_value": 2, "ratio": round(p99 / 2, 3)}))
print(json.dumps({"name": "head_recovery_median", "value": round(median, 3), "unit": "s", "peer": "the same client beside a head that is there", "peer_value": round(client, 3), "ratio": round(median / client, 2)}))
