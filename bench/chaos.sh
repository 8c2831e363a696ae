#!/usr/bin/env bash
# about: random kills and freezes of workers, nodes and the head under submission load: goals lost, effects twice, processes left behind
# Arguments: [--kills N] [--seed N]
# targets: flywheel
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options chaos kills=300 seed=1 -- "$@"
work_folder chaos
if [ -n "${CHAOS_KEEP:-}" ]; then trap - EXIT; echo "kept: $folder"; fi # to look at what went wrong
python3 "$here/chaos.py" "$FLYWHEEL_BUILD/flywheel" "$folder" "$kills" "$seed"
