"""Kills and freezes one rank of two at a random step, ours and torchrun's in turn; checks that every run of ours ends with the same
loss and weights to the bit, and that PyTorch's loss agrees; prints a table and one JSON line per figure."""

import json
import mmap
import os
import random
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

flywheel, peer, root, folder, kills, freezes, pairs = *sys.argv[1:5], *map(int, sys.argv[5:8])
STEPS, EVERY, SEQUENCES, RANKS = 60, 5, 16, 2
dice = random.Random(1)
LONG = 120  # s; nothing here should need it


def fail(text):
    sys.exit("gang_recovery: " + text)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(p * len(values)))]


def until(condition, what):
    end = time.monotonic() + LONG
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            fail("waited in vain for " + what)
        time.sleep(0.0005)


class Ours:
    """One launch, with its events as they come."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(dir=folder)
        self.err = open(self.folder + "/err", "w+")
        command = [flywheel, "launch", "--ranks", str(RANKS), "-o", "json", "--checkpoint", self.folder + "/c", "--", flywheel, "worker", "gang-train",
                   "--steps", str(STEPS), "--every", str(EVERY), "--sequences", str(SEQUENCES)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.err, text=True)
        self.pids, self.events = {}, []

    def next(self):
        line = self.process.stdout.readline()
        if line:
            e = json.loads(line)
            self.events.append(e)
            if e["event"] == "rank_started":
                self.pids[e["attempt"], e["rank"]] = e["pid"]
        return line

    def strike(self, number):
        """The signal to a random rank at a random step; returns (rank, when)."""
        rank, step = dice.randrange(RANKS), dice.randrange(1, STEPS - 2)
        while (1, rank) not in self.pids:
            if not self.next():
                fail("no rank was started: " + self.said())
        pid = self.pids[1, rank]
        with open(f"/proc/{pid}/fd/3", "rb") as f:
            board = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)
        until(lambda: struct.unpack_from("<Q", board, 112)[0] >= step, f"step {step}")
        now = time.monotonic_ns()
        os.kill(pid, number)
        return rank, now

    def said(self):
        self.err.seek(0)
        return self.err.read()

    def end(self):
        while self.next():
            pass
        if self.process.wait() != 0:
            fail("a launch ended with %d: %s" % (self.process.returncode, self.said()))
        text = self.said()
        outcome = tuple(re.search(key + r":\s+(\S+)", text).group(1) for key in ("loss_exact", "weights", "loss"))
        for pid in self.pids.values():
            if os.path.exists(f"/proc/{pid}"):
                fail(f"process {pid} is left")
        shutil.rmtree(self.folder)
        return outcome

    def at(self, event, attempt):
        return next(e["at_ns"] for e in self.events if e["event"] == event and e["attempt"] == attempt)

    def cause(self):
        return next(e["cause"] for e in self.events if e["event"] == "noticed")


def ours_struck(number, expected, end_name):
    run = Ours()
    rank, when = run.strike(number)
    outcome = run.end()
    if outcome != expected:
        fail(f"another result after a signal {number}: {outcome} instead of {expected}")
    cause = run.cause()
    if cause["rank"] != rank or cause["end"] != end_name:
        fail(f"rank {rank} was {end_name}, but the cause is: {cause['sentence']}")
    ms = lambda event, attempt: (run.at(event, attempt) - when) / 1e6
    return {"noticed": ms("noticed", 1), "free": ms("cleared", 1), "step": ms("first_step", 2)}


class Failed(Exception):
    """A run of PyTorch that ended with an error of its own."""


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS), "--max-restarts", "3",
            "--monitor-interval", "0.1"]
LAUNCH = [flywheel, "launch", "--ranks", str(RANKS), "--", sys.executable]
repeated = {"torchrun": 0, "flywheel launch": 0}


def peer_struck(launcher, strike=True):
    """Runs PyTorch's script, again if it ended with an error of its own (Gloo sometimes fails to connect on a busy machine)."""
    for _ in range(3):
        try:
            return peer_run(launcher, strike)
        except Failed as e:
            repeated["torchrun" if launcher is TORCHRUN else "flywheel launch"] += 1
            last = str(e)
    fail(last)


def peer_run(launcher, strike):
    """ms from the kill to the first completed step of the restarted gang; the loss; PyTorch's version."""
    place = tempfile.mkdtemp(dir=folder)
    command = [*launcher, peer, place, folder + "/weights", root, str(STEPS), str(EVERY), str(SEQUENCES)]
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="", GLOO_SOCKET_IFNAME="lo")
    err = open(place + "/err", "w+")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True, env=environment)

    def board(attempt, rank):
        path = f"{place}/rank-{attempt}-{rank}"
        if process.poll() is not None:
            err.seek(0)
            raise Failed("PyTorch ended early: " + err.read()[-3000:])
        if not os.path.exists(path):
            return None
        with open(path, "rb") as f:
            return struct.unpack("<QQQ", f.read(24))

    when = 0
    if strike:
        rank, step = dice.randrange(RANKS), dice.randrange(1, STEPS - 2)
        until(lambda: (board(0, rank) or (0, 0, 0))[1] >= step, f"torchrun's step {step}")
        pid = board(0, rank)[0]
        when = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=LONG)
    if process.returncode != 0:
        err.seek(0)
        raise Failed("PyTorch failed: " + err.read()[-3000:])
    _, loss, version = re.search(r"(loss) (\S+) (\S+)", out).groups()
    first = 0
    if os.path.exists(f"{place}/rank-2-0"):
        raise Failed("it was restarted twice")
    if strike:
        for r in range(RANKS):
            with open(f"{place}/rank-1-{r}", "rb") as f:
                first = max(first, struct.unpack("<QQQ", f.read(24))[2])
    err.close()
    shutil.rmtree(place)
    return (first - when) / 1e6, float(loss), version


print("load:", *os.getloadavg())
undisturbed = Ours()
expected = undisturbed.end()
step_ms = (undisturbed.at("ended", 1) - undisturbed.at("first_step", 1)) / 1e6 / STEPS
_, peers_loss, version = peer_struck(TORCHRUN, strike=False)
difference = abs(float(expected[2]) - peers_loss)
if not difference < 1e-3:
    fail(f"the losses differ: ours {expected[2]}, PyTorch's {peers_loss}")

mine, theirs, same_script, all_mine = [], [], [], []
ours_struck(signal.SIGKILL, expected, "killed")  # warm
for _ in range(pairs):
    all_mine.append(ours_struck(signal.SIGKILL, expected, "killed"))
    mine.append(all_mine[-1]["step"])
    for launcher, times in ((TORCHRUN, theirs), (LAUNCH, same_script)):
        ms, loss, _ = peer_struck(launcher)
        times.append(ms)
        if not abs(loss - peers_loss) < 1e-3:
            fail(f"PyTorch's loss after a kill is {loss}, not {peers_loss}")
for n in range(kills - pairs):
    if n % 20 == 0:
        print(f"{n + pairs} of {kills} kills", file=sys.stderr, flush=True)
    all_mine.append(ours_struck(signal.SIGKILL, expected, "killed"))
frozen = [ours_struck(signal.SIGSTOP, expected, "frozen") for _ in range(freezes)]
print("load:", *os.getloadavg())

print(f"{RANKS} ranks, {STEPS} steps of {step_ms:.1f} ms undisturbed, a checkpoint every {EVERY}; one rank struck at a random step")
if any(repeated.values()):
    print("runs of PyTorch's script that ended with an error of their own and were repeated:", repeated)
print(f"every run of ours ended with loss {expected[0]} and weights {expected[1][:12]}...; PyTorch's loss differs by {difference:.1e}")
print(f"  {'ms':34}{'median':>9}{'p90':>9}{'p99':>9}{'max':>9}")
rows = [(f"{len(all_mine)} kills: noticed", [r["noticed"] for r in all_mine]), ("  slots free", [r["free"] for r in all_mine]),
        ("  first step of the new gang", [r["step"] for r in all_mine]), ("  of those, beside torchrun", mine), ("torchrun: first step", theirs),
        ("its script, launched by flywheel", same_script)]
if frozen:
    rows += [(f"{len(frozen)} freezes: named", [r["noticed"] for r in frozen]), ("  slots free", [r["free"] for r in frozen])]
for name, values in rows:
    print(f"  {name:34}{statistics.median(values):9.1f}{percentile(values, 0.9):9.1f}{percentile(values, 0.99):9.1f}{max(values):9.1f}")


def figure(name, value, unit, against, against_value):
    print(json.dumps({"name": name, "value": round(value, 2), "unit": unit, "peer": against, "peer_value": round(against_value, 2),
                      "ratio": round(value / against_value, 3)}))


figure("gang_rank_killed_noticed_p99", percentile([r["noticed"] for r in all_mine], 0.99), "ms", "goal", 50)
figure("gang_rank_killed_slots_free_p99", percentile([r["free"] for r in all_mine], 0.99), "ms", "goal", 1000)
if frozen:
    figure("gang_rank_frozen_named_p99", percentile([r["noticed"] for r in frozen], 0.99), "ms", "goal: step time + 3 s", 3000 + step_ms)
torchrun = f"torchrun of PyTorch {version}, monitor interval 0.1 s"
figure("gang_kill_to_first_step_median", statistics.median(mine), "ms", torchrun, statistics.median(theirs))
figure("gang_kill_to_first_step_same_script_median", statistics.median(same_script), "ms", torchrun, statistics.median(theirs))
