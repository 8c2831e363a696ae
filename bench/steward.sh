#!/usr/bin/env bash
# about: CSV parse + full contract check of 420 MB in one pass, beside DuckDB with the same types, checks and threads
# Arguments: [--pairs N] [--megabytes N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options steward pairs=5 megabytes=420 -- "$@"
python=$("$here/peers/install.sh" steward)
work_folder steward
"$FLYWHEEL_BUILD/bench_steward" generate "$folder/customers.csv" "$megabytes"
"$python" "$here/steward_compare.py" "$FLYWHEEL_BUILD/bench_steward" "$here/steward_peer.py" "$folder/customers.csv" "$pairs"
