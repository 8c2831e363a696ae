#!/usr/bin/env bash
# about: `flywheel chaos`: random kills and freezes of workers, nodes, the head and agents under submission load: goals lost, effects twice, what is left behind
# Arguments: [--kills N] [--seed N]
# targets: flywheel
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options chaos kills=300 seed=1 -- "$@"
work_folder chaos
if [ -n "${CHAOS_KEEP:-}" ]; then trap - EXIT; echo "kept: $folder"; fi # to look at what went wrong
flywheel=$FLYWHEEL_BUILD/flywheel
export FLYWHEEL_STATE=$folder/state
head -501 "$FLYWHEEL_ROOT/examples/churn/churn.csv" > "$folder/customers.csv"
cat > "$folder/goal.yaml" <<GOAL
flywheel: 1
name: g
data:
  source: customers.csv
  split: {strategy: tail, holdout_rows: 150}
target: churn
metric: accuracy >= 0.5
search: {families: [gbt], folds: 2, budget: {trials: 2, wall_time: 300s, slot_seconds: 300}}
GOAL
# Seven in twenty-one strokes each: workers, nodes; three: freezes, the head; one: an agent. About one stroke a second.
part() { echo $(((kills * $1 + 20) / 21)); }
cat > "$folder/faults.yaml" <<FAULTS
flywheel_chaos: 1
name: bench
duration: $((kills + 10))s
settle: 10m
load: {goal: goal.yaml, count: $((2 + kills / 2)), every: 2s}
experiments:
  - {name: workers, kind: PodChaos, action: container-kill, containerNames: [worker], schedule: "@every 3s", jitter: 2s, count: $(part 7)}
  - {name: nodes, kind: PodChaos, action: pod-kill, selector: {role: node}, schedule: "@every 3s", jitter: 2s, count: $(part 7)}
  - {name: freezes, kind: PodChaos, action: pod-failure, selector: {role: node}, schedule: "@every 7s", jitter: 3s, duration: 3s, count: $(part 3)}
  - {name: heads, kind: PodChaos, action: pod-kill, selector: {role: head}, schedule: "@every 7s", jitter: 3s, startAfter: 3s, count: $(part 3)}
  - {name: agents, kind: PodChaos, action: container-kill, containerNames: [hpo, trainer, conductor, deployer], schedule: "@every 20s", count: $(part 1)}
FAULTS
"$flywheel" up --local 3 --slots 1 -q > "$folder/up"
"$flywheel" chaos "$folder/faults.yaml" --seed "$seed" --report "$folder/report.json" > "$folder/out" || kept=no
tail -n +1 "$folder/out" | grep -v ' is acknowledged$' | grep -vE '^ +[0-9.]+s ' || true
"$flywheel" down > /dev/null
python3 - "$folder/report.json" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
verdicts = {v["promise"]: v for v in report["verdicts"]}
of = f"of {report['goals_acknowledged']} goals, {report['strokes_done']} strokes"
for name, promise in (("goals_lost", "I1"), ("goals_not_done", "I12"), ("effects_twice", "I3"), ("trials_counted_twice", "I15"), ("left_behind", "I11")):
    assert verdicts[promise]["verdict"] != "not judged", verdicts[promise]
    print(json.dumps({"name": f"chaos_{name}", "value": len(verdicts[promise]["evidence"]), "unit": of, "peer": "the promise", "peer_value": 0, "ratio": None}))
broken = [v["promise"] for v in report["verdicts"] if v["verdict"] == "broken"]
print(json.dumps({"name": "chaos_promises_broken", "value": len(broken), "unit": "of 15, " + of[3:], "peer": "the promise", "peer_value": 0, "ratio": None}))
PYTHON
[ -z "${kept:-}" ] || { echo "a promise was broken" >&2; exit 1; }
