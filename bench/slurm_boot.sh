#!/usr/bin/env bash
# about: from the start of a Slurm job to a ready cluster of three nodes, beside a bare `srun -N3 true`
# targets: flywheel
# A Slurm of our own on this machine (tests/process/slurm; root, slurm-wlm, munge). FLYWHEEL_RUNS sets the number of runs (11). Ready means
# that the head's table has three nodes alive with slots; the goal is < 3 s. No peer boots a cluster, so srun alone is the limit.
set -euo pipefail
cd "$FLYWHEEL_ROOT"
for program in slurmctld slurmd munged sbatch; do
  command -v "$program" >/dev/null || { echo "slurm_boot: $program is missing; run deploy/setup.sh" >&2; exit 1; }
done
work=$(mktemp -d)
chmod 755 "$work" # munge wants its socket to be reachable by all
trap 'tests/process/slurm/down.sh "$work/lab"; rm -rf "$work"' EXIT
tests/process/slurm/up.sh "$work/lab" $((20000 + RANDOM % 10000)) 3
export SLURM_CONF=$work/lab/slurm.conf
head -n 901 examples/churn/churn.csv >"$work/customers.csv"
cat >"$work/goal.yaml" <<'GOAL'
flywheel: 1
name: boot
data: {source: customers.csv, split: {strategy: tail, holdout_rows: 300}}
target: churn
metric: accuracy >= 0.80
search: {families: [gbt], folds: 3, budget: {trials: 400, wall_time: 300s, slot_seconds: 600}}
GOAL
now() { date +%s.%N; }
for run in $(seq 1 "${FLYWHEEL_RUNS:-11}"); do
  begin=$(now)
  srun -N3 true
  echo "$begin $(now)" >>"$work/srun"
  # The first line of the job tells when it began: Slurm's own times are whole seconds. A fresh state folder: certificates are made, too.
  state=$work/s$run
  "$FLYWHEEL_BUILD/flywheel" slurm render "$work/goal.yaml" --approve --no-requeue --state "$state" -- -N3 -t5 |
    sed "0,/^exec /s|^exec |date +%s.%N >$work/began-$run\nexec |" >"$work/job-$run"
  submitted=$(now)
  job=$(sbatch --parsable --output="$work/out-$run" "$work/job-$run")
  for _ in $(seq 3000); do
    grep -q "slurm: ready: 3 nodes" "$work/out-$run" 2>/dev/null && break
    sleep 0.01
  done
  ready=$(now)
  # The program's word is not enough: its table must have three nodes alive.
  alive=$("$FLYWHEEL_BUILD/flywheel" nodes --state "$state" -o json | python3 -c \
    'import json, sys; print(sum(n["state"] == "alive" and n["slots"] > 0 for n in json.load(sys.stdin)))')
  if [ "$alive" != 3 ]; then
    echo "slurm_boot: run $run has $alive nodes" >&2
    cat "$work/out-$run" >&2
    exit 1
  fi
  echo "$submitted $(cat "$work/began-$run") $ready" >>"$work/boot"
  scancel "$job"
  for _ in $(seq 300); do
    [ -z "$(squeue -h -j "$job" 2>/dev/null)" ] && break
    sleep 0.05
  done
done
python3 - "$work" <<'PY'
import json, math, pathlib, statistics, sys
work = pathlib.Path(sys.argv[1])
rows = [list(map(float, line.split())) for line in (work / "boot").read_text().splitlines()]
srun = [end - begin for begin, end in (map(float, line.split()) for line in (work / "srun").read_text().splitlines())]
boot, whole = [r[2] - r[1] for r in rows], [r[2] - r[0] for r in rows]
print(f"{'run':>4} {'srun -N3 true':>14} {'job start to ready':>19} {'sbatch to ready':>16}   seconds")
for i, (s, b, w) in enumerate(zip(srun, boot, whole), 1):
    print(f"{i:>4} {s:>14.2f} {b:>19.2f} {w:>16.2f}")
def p99(values):  # nearest rank: with few runs, the slowest
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]
def line(name, mine, theirs, peer):
    print(json.dumps({"name": name, "value": round(mine, 3), "unit": "s", "peer": peer, "peer_value": round(theirs, 3), "ratio": round(mine / theirs, 3)}))
line("slurm_boot_median", statistics.median(boot), statistics.median(srun), "limit: srun -N3 true")
line("slurm_boot_p99", p99(boot), p99(srun), "limit: srun -N3 true")
line("slurm_boot_p99_of_goal", p99(boot), 3.0, "goal")
line("slurm_boot_from_sbatch_median", statistics.median(whole), statistics.median(srun), "limit: srun -N3 true")
PY
