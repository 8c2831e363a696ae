#!/usr/bin/env bash
# about: how soon the head notices a frozen or killed node, and false alarms while every core is busy
# Arguments: [--rounds N] [--quiet SECONDS] [--burners N]   burners: processes that load the machine meanwhile; 0 where something else does
# targets: flywheel
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
options detection rounds=20 quiet=300 burners=2 -- "$@"
work_folder detection
python3 "$here/detection.py" "$FLYWHEEL_BUILD/flywheel" "$folder" "$rounds" "$quiet" "$burners"
