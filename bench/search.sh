#!/usr/bin/env bash
# about: TPE on four test functions, trials per second and best value, beside Optuna's with its defaults
# Arguments: [--pairs N] [--studies N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options search pairs=5 studies=8 -- "$@"
python=$("$here/peers/install.sh" search)
"$python" "$here/search_compare.py" "$FLYWHEEL_BUILD/bench_search" "$here/search_peer.py" "$pairs" "$studies"
