#!/usr/bin/env bash
# about: a gang of two ranks, one killed or frozen at a random step: noticed, slots free, training again, beside torchrun
# targets: flywheel bench_gang_recovery
# Arguments: [--kills N] [--freezes N] [--pairs N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options gang_recovery kills=200 freezes=30 pairs=7 -- "$@"
python=$("$here/peers/install.sh" train_cpu)
work_folder gang_recovery
"$FLYWHEEL_BUILD/bench_gang_recovery" "$folder/weights"
"$python" "$here/gang_recovery_compare.py" "$FLYWHEEL_BUILD/flywheel" "$here/gang_recovery_peer.py" "$FLYWHEEL_ROOT" "$folder" "$kills" "$freezes" "$pairs"
