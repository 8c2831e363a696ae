"""Freezes and kills nodes of a local cluster; how soon the head notices, from its journal; and how often it is wrong under load."""
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone

flywheel, folder, rounds, quiet = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
burners = int(sys.argv[5])
env = dict(os.environ, FLYWHEEL_STATE=f"{folder}/state")


def call(*words):
    return subprocess.run([flywheel, *words], env=env, capture_output=True, text=True, timeout=60)


def node_pid():
    out = subprocess.run(["pgrep", "-f", f"node --join.*{folder}/state/certs/node1 "], capture_output=True, text=True).stdout.split()
    return int(out[0]) if out else None


def events():
    found = []
    for line in json.loads(call("journal", "show", "--limit", "0", "-o", "json").stdout):
        if line["kind"] == "node_state" and line["subject"] == "node1":
            at = datetime.strptime(line["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
            found.append((at, json.loads(line["body"])["state"] if isinstance(line["body"], str) else line["body"]["state"]))
    return found


def wait_for(state, since):
    until = time.time() + 20
    while time.time() < until:
        for at, s in events():
            if at >= since and s == state:
                return at - since
        time.sleep(0.02)
    sys.exit(f"node1 did not become {state}")


def burn():
    while True:
        pass


up = call("up", "--local", "2", "--slots", "1")
if up.returncode != 0:
    sys.exit(up.stderr)
try:
    # No false alarm while both cores are busy.
    load = [multiprocessing.Process(target=burn, daemon=True) for _ in range(burners)]
    for p in load:
        p.start()
    begin = time.time()
    loads = []
    while time.time() - begin < quiet:
        time.sleep(min(10, quiet))
        loads.append(os.getloadavg()[0])
    for p in load:
        p.kill()
    alarms = sum(1 for at, s in events() if at > begin and s in ("suspect", "dead"))
    suspect, dead = [], []
    for i in range(rounds):
        pid = node_pid()
        begin = time.time()
        os.kill(pid, signal.SIGSTOP)
        suspect.append(wait_for("suspect", begin))
        dead.append(wait_for("dead", begin))
        woken = time.time()
        os.kill(pid, signal.SIGCONT)
        wait_for("alive", woken)
    begin = time.time()
    os.kill(node_pid(), signal.SIGKILL)
    killed = wait_for("suspect", begin)
finally:
    call("down")
for times in (suspect, dead):
    times.sort()
p99 = lambda t: t[min(len(t) - 1, int(0.99 * len(t)))]
print(f"{rounds} nodes frozen: suspect after {suspect[len(suspect) // 2]:.2f} s (worst {suspect[-1]:.2f}), given up after {dead[len(dead) // 2]:.2f} s (worst {dead[-1]:.2f})")
print(f"a node killed: suspect after {1000 * killed:.0f} ms; {alarms} false alarms in {quiet} s at a load of {min(loads):.1f} to {max(loads):.1f} (median {sorted(loads)[len(loads) // 2]:.1f}) on {os.cpu_count()} cores")
for name, value, unit, limit in (("detection_frozen_suspect_p99", p99(suspect), "s", 3), ("detection_frozen_dead_p99", p99(dead), "s", 3),
                                 ("detection_killed", killed, "s", 0.05)):
    print(json.dumps({"name": name, "value": round(value, 3), "unit": unit, "peer": "the limit", "peer_value": limit, "ratio": round(value / limit, 3)}))
print(json.dumps({"name": "detection_false_alarms", "value": alarms, "unit": f"in {quiet} s", "peer": "the limit", "peer_value": 0, "ratio": None}))
