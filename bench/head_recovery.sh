#!/usr/bin/env bash
# about: kill -9 of a head with 10,000 goals in its journal: how long until it accepts goals again, and that none is lost
# Arguments: [--goals N] [--kills N]
# targets: flywheel bench_head_recovery
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options head_recovery goals=10000 kills=30 -- "$@"
work_folder head_recovery
python3 "$here/head_recovery.py" "$FLYWHEEL_BUILD/flywheel" "$FLYWHEEL_BUILD/bench_head_recovery" "$folder" "$goals" "$kills"
