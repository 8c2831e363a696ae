#!/usr/bin/env bash
# about: the churn goal from `flywheel run` to a served model, beside a random search with scikit-learn on the same rows
# targets: flywheel
# Five pairs; FLYWHEEL_PAIRS sets another number. The limit of the goal is 240 s and 0.95 on the last 1,667 rows.
set -euo pipefail
cd "$FLYWHEEL_ROOT"
bench/peers/install.sh churn >&2
python=bench/peers/.venv/churn/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for pair in $(seq 1 "${FLYWHEEL_PAIRS:-5}"); do
  begin=$(date +%s.%N)
  "$FLYWHEEL_BUILD/flywheel" run examples/churn/goal.yaml "search.seed=$pair" --approve --state "$work/s$pair" -o json \
    >"$work/ours-$pair.json" 2>"$work/log-$pair"
  echo "$begin $(date +%s.%N)" >"$work/time-$pair"
  "$python" bench/churn_peer.py examples/churn/churn.csv "$pair" >"$work/peer-$pair.json"
done
"$python" - "$work" <<'PY'
import json, pathlib, statistics, sys
work = pathlib.Path(sys.argv[1])
ours, peer = [], []
for file in sorted(work.glob("ours-*.json")):
    pair = file.stem.split("-")[1]
    report = json.loads(file.read_text())
    begin, end = map(float, (work / f"time-{pair}").read_text().split())
    families = {f["family"]: f.get("held_out") for f in report["families"]}
    ours.append((report["evaluation"]["value"], end - begin, families, report["evaluation"]["rows"]))
    peer.append(json.loads((work / f"peer-{pair}.json").read_text()))
print(f"{'pair':>4} {'accuracy':>9} {'seconds':>8}   {'peer':>9} {'seconds':>8}   families on the held-out rows")
for i, (o, p) in enumerate(zip(ours, peer), 1):
    print(f"{i:>4} {o[0]:>9.4f} {o[1]:>8.1f}   {p['accuracy']:>9.4f} {p['seconds']:>8.1f}   {o[2]}")
    assert o[3] == 1667
def line(name, unit, mine, theirs, peer_name):
    a, b = statistics.median(mine), statistics.median(theirs)
    print(json.dumps({"name": name, "value": round(a, 4), "unit": unit, "peer": peer_name, "peer_value": round(b, 4), "ratio": round(a / b, 3)}))
line("churn_accuracy", "fraction of 1667 rows", [o[0] for o in ours], [p["accuracy"] for p in peer], "scikit-learn random search")
line("churn_seconds_to_served", "s", [o[1] for o in ours], [p["seconds"] for p in peer], "scikit-learn random search (no serving)")
line("churn_seconds_of_limit", "s", [o[1] for o in ours], [240.0], "limit")
line("churn_accuracy_of_limit", "fraction", [o[0] for o in ours], [0.95], "limit")
PY
