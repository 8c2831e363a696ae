#!/usr/bin/env bash
# about: the model server beside a bare echo of the same HTTP library and beside FastAPI + XGBoost on uvicorn
# targets: bench_serve bench_serve_echo
# Arguments go to bench/serve.py, for example: bench/run serve --pairs 5 --seconds 4
set -euo pipefail
command -v wrk >/dev/null || { echo "serve: the load comes from wrk: apt-get install wrk" >&2; exit 2; }
PEER_PYTHON=$(bash "$FLYWHEEL_ROOT/bench/peers/install.sh" serve)
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
export PEER_PYTHON FOLDER
"$FLYWHEEL_BUILD/bench_serve" prepare "$FOLDER" "$FLYWHEEL_ROOT/examples/churn/churn.csv"
"$PEER_PYTHON" "$FLYWHEEL_ROOT/bench/serve.py" "$@"
