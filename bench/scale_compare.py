"""What the head pays for each node: from bench_scale (tables) and from real, idle nodes (CPU time of the head's process)."""
import json
import os
import re
import shutil
import subprocess
import sys
import time
from statistics import median

bench, flywheel, folder = sys.argv[1:4]
pairs, nodes, seconds = (int(x) for x in sys.argv[4:7])
tick = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    """Seconds of user and system time of a process."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / tick


def real(count):
    """A head and count - 1 nodes: CPU seconds of the head until all are there, and then in each second of doing nothing."""
    state = f"{folder}/state{count}"
    env = dict(os.environ, FLYWHEEL_STATE=state)
    subprocess.run([flywheel, "up", "--local", str(count), "--slots", "1", "-q"], env=env, check=True, stdout=subprocess.DEVNULL)
    head = json.load(open(f"{state}/run/cluster.json"))["pid"]
    joined = cpu(head)
    begin = time.monotonic()
    time.sleep(seconds)
    idle = (cpu(head) - joined) / (time.monotonic() - begin)
    listed = json.loads(subprocess.run([flywheel, "nodes", "-o", "json"], env=env, check=True, capture_output=True, text=True).stdout)
    assert sum(n["state"] == "alive" for n in listed) == count, listed
    subprocess.run([flywheel, "down"], env=env, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(state)
    return joined, idle


def figure(name, value, unit, peer, peer_value, digits=3):
    print(json.dumps({"name": name, "value": round(value, digits), "unit": unit, "peer": peer, "peer_value": round(peer_value, digits) if peer_value is not None else None,
                      "ratio": round(value / peer_value, 3) if peer_value else None}))


out = json.loads(subprocess.run([bench], check=True, capture_output=True, text=True).stdout)
by = lambda rows, n, key: median(r[key] for r in rows if r["nodes"] == n)
few, many = [], []
for _ in range(pairs):
    few.append(real(2))
    many.append(real(nodes))
extra = nodes - 2
idle = median(m[1] - f[1] for f, m in zip(few, many)) / extra
join = median(m[0] - f[0] for f, m in zip(few, many)) / extra
print(f"{'nodes':>6} {'ns a beat':>10} {'with bytes':>11} {'us a placement':>15}")
for n in (10, 100, 1000):
    print(f"{n:>6} {by(out['beats'], n, 'ns'):>10.0f} {by(out['beats'], n, 'ns_with_bytes'):>11.0f} {by(out['placement'], n, 'ns') / 1000:>15.1f}")
print(f"real nodes, the head idle: {1e6 * idle:.0f} us of CPU a second for each node, {1000 * join:.1f} ms to let one in ({pairs} pairs of 2 and {nodes} nodes, {seconds} s each)")
a = out["agents"]
figure("scale_beat_1000_nodes", by(out["beats"], 1000, "ns"), "ns", "the same at 10 nodes", by(out["beats"], 10, "ns"), 1)
figure("scale_beat_with_bytes_1000_nodes", by(out["beats"], 1000, "ns_with_bytes"), "ns", "the same at 10 nodes", by(out["beats"], 10, "ns_with_bytes"), 1)
figure("scale_tables_cpu_1000_nodes", 2000 * by(out["beats"], 1000, "ns_with_bytes") / 1e9, "of one core, a beat every 0.5 s", "one core", 1, 5)
figure("scale_place_1000_trials", by(out["placement"], 1000, "ns") * 1000 / 1e9, "s for 1,000 trials on 1,000 nodes", "1,000 times one of 10 on 10", by(out["placement"], 10, "ns") * 1000 / 1e9)
figure("scale_head_cpu_of_a_node", 1e6 * idle, "us of CPU a second", None, None, 1)
figure("scale_head_cpu_1000_nodes", 1000 * idle, f"cores, computed: 1,000 times what each of {extra} real nodes costs", "one core", 1)
figure("scale_idle_agent", a["idle_agent_bytes"], "bytes", None, None, 0)
figure("scale_message", median(a["message_ns"]), "ns, request and answer, typed", "plain CAF, untyped", median(a["raw_message_ns"]), 1)

boot = None
results = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results", "slurm_boot.md")
for line in open(results):
    found = re.match(r'\{"name": "slurm_boot_median", "value": ([0-9.]+)', line)
    boot = float(found[1]) if found else boot
certificates = 61 * out["certificate_ms"] / 1000
print(f"64 nodes under Slurm, computed: {boot} s (3 nodes, bench/run slurm_boot) + 61 certificates at {out['certificate_ms']:.2f} ms + 61 joins at {1000 * join:.1f} ms of the head's CPU,\n"
      "one after the other; assumes that nodes start side by side on machines of their own, and that srun takes no longer for 64 than for 3")
figure("scale_slurm_boot_64_nodes", boot + certificates + 61 * join, "s, computed", "3 nodes, measured", boot)
