#!/usr/bin/env bash
# about: save, stall and restore of 700 MB of training state, beside raw write and read, memcpy, and torch.save and load
# Arguments: [--pairs N] [--megabytes N]
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options checkpoint pairs=5 megabytes=700 -- "$@"
python=$("$here/peers/install.sh" checkpoint)
work_folder checkpoint
"$python" "$here/checkpoint_compare.py" "$FLYWHEEL_BUILD/bench_checkpoint" "$here/checkpoint_peer.py" "$folder" "$megabytes" "$pairs"
