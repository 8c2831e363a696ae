#!/usr/bin/env bash
# about: what the head pays for each node (the tables at 10, 100 and 1,000 nodes; real nodes over TLS), placement, and what an agent costs
# Arguments: [--pairs N] [--nodes N] [--seconds N]
# targets: flywheel bench_scale
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options scale pairs=5 nodes=12 seconds=15 -- "$@"
work_folder scale
python3 "$here/scale_compare.py" "$FLYWHEEL_BUILD/bench_scale" "$FLYWHEEL_BUILD/flywheel" "$folder" "$pairs" "$nodes" "$seconds"
