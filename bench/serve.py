"""Drives bench/run serve: starts the servers, checks that they answer alike, loads them in turn, prints the figures."""
import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--pairs", type=int, default=5)
parser.add_argument("--seconds", type=int, default=4)
parser.add_argument("--connections", type=int, default=16)
parser.add_argument("--threads", type=int, default=2)
args, folder = parser.parse_args(), os.environ["FOLDER"]
build, root, python = os.environ["FLYWHEEL_BUILD"], os.environ["FLYWHEEL_ROOT"], os.environ["PEER_PYTHON"]
os.environ["ROWS"] = f"{folder}/rows.jsonl"


def cpu_seconds(pid):
    """User and system time of a process and its children that live."""
    total = 0
    for p in [pid] + [int(c) for c in open(f"/proc/{pid}/task/{pid}/children").read().split()]:
        fields = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def ask(port, body):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    c.request("POST", "/predict", body, {"Content-Type": "application/json"})
    answer = c.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"serve: status {answer.status}: {text[:200]}")
    c.close()
    return text


class Server:
    def __init__(self, name, command):
        self.name, self.runs = name, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)


class Uvicorn(Server):
    def __init__(self, name, workers):
        self.name, self.runs = name, []
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        os.environ.update(MODEL=f"{folder}/model.ubj", COLUMNS=f"{folder}/columns.json")
        self.process = subprocess.Popen(
            [python, "-m", "uvicorn", "serve_app:app", "--app-dir", f"{root}/bench", "--port", str(self.port), "--workers", str(workers),
             "--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"])
        end = time.time() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if time.time() > end or self.process.poll() is not None:
                    sys.exit("serve: the peer did not start")
                time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def load(server, seconds):
    before = cpu_seconds(server.process.pid)
    out = subprocess.run(["wrk", "-t1", f"-c{args.connections}", f"-d{seconds}s", "-s", f"{root}/bench/serve.lua", f"http://127.0.0.1:{server.port}"],
                         check=True, capture_output=True, text=True).stdout
    run = json.loads(out.splitlines()[-1])
    if run["failed"] != 0 or run["requests"] == 0:
        sys.exit(f"serve: {server.name}: {run}")
    run["rate"] = run["requests"] / run["seconds"]
    run["cpu_us"] = (cpu_seconds(server.process.pid) - before) / run["requests"] * 1e6
    return run


servers = []
try:
    ours = Server("flywheel", [f"{build}/bench_serve", "serve", folder, str(args.threads)])
    echo = Server("RESTinio echo", [f"{build}/bench_serve_echo", str(args.threads)])
    peer = Uvicorn("FastAPI, uvicorn, 1 worker", 1)
    peer2 = Uvicorn("FastAPI, uvicorn, 2 workers", 2)
    servers = [ours, echo, peer, peer2]

    rows = open(f"{folder}/rows.jsonl").read().splitlines()
    worst = 0.0
    for row in rows[:500]:
        a, b = json.loads(ask(ours.port, row)), json.loads(ask(peer.port, row))
        worst = max(worst, abs(a["probabilities"]["yes"] - b["probabilities"]["yes"]))
        if worst > 1e-5 or (a["prediction"] != b["prediction"] and abs(b["probabilities"]["yes"] - 0.5) > 1e-5):
            sys.exit(f"serve: the answers differ on {row}: {a} and {b}")
        if ask(echo.port, row).decode() != row:
            sys.exit("serve: the echo does not echo")
    print(f"answers: 500 rows, ours and the peer's probabilities agree to {worst:.1e}; 100 trees, {len(rows)} different rows posted in turn")

    for s in servers:
        load(s, 1)
    for _ in range(args.pairs):
        for s in servers:
            s.runs.append(load(s, args.seconds))
finally:
    for s in servers:
        s.stop()

median = lambda s, key: statistics.median(r[key] for r in s.runs)
print(f"\nwrk -t1 -c{args.connections} -d{args.seconds}s, {args.pairs} rounds in turn, medians; servers in C++ with {args.threads} threads")
print(f"{'':30}{'requests/s':>12}{'p50 us':>9}{'p99 us':>9}{'CPU us/request':>16}   rates of all rounds")
for s in servers:
    print(f"{s.name:30}{median(s, 'rate'):12.0f}{median(s, 'p50_us'):9.0f}{median(s, 'p99_us'):9.0f}{median(s, 'cpu_us'):16.1f}   "
          + " ".join(f"{r['rate']:.0f}" for r in s.runs))
print()


def figure(name, key, unit, other):
    a, b = median(ours, key), median(other, key)
    ratio = statistics.median(x[key] / y[key] for x, y in zip(ours.runs, other.runs))
    print(json.dumps({"name": name, "value": round(a, 1), "unit": unit, "peer": other.name, "peer_value": round(b, 1), "ratio": round(ratio, 3)}))


figure("serve_requests_vs_echo", "rate", "requests/s", echo)
figure("serve_requests_vs_fastapi", "rate", "requests/s", peer)
figure("serve_requests_vs_fastapi_2_workers", "rate", "requests/s", peer2)
for key, name, unit in (("p50_us", "serve_p50", "us"), ("p99_us", "serve_p99", "us"), ("cpu_us", "serve_cpu_per_request", "us")):
    figure(name + "_vs_echo", key, unit, echo)
    figure(name + "_vs_fastapi", key, unit, peer)
