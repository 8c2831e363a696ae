#!/usr/bin/env bash
# about: trials that do nothing through lease, warm worker and journal, per second and alone, beside Dask's tasks
# Arguments: [--pairs N] [--trials N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options control_plane pairs=5 trials=4000 -- "$@"
work_folder control_plane
python=$("$here/peers/install.sh" control_plane)
"$python" "$here/control_plane_compare.py" "$FLYWHEEL_BUILD/bench_control_plane" "$here/control_plane_peer.py" "$folder" "$pairs" "$trials"
