#!/usr/bin/env bash
# node.sh DIR NODE: one slurmd of DIR, in PID and mount namespaces of its own.
set -euo pipefail
D=$(realpath "$1") node=$2
mkdir -p "$D/spool/$node"
setsid unshare --pid --fork --kill-child=KILL --mount-proc bash -c \
  'mount -t tmpfs none "$1/private" && exec slurmd -D -f "$1/slurm.conf" -N "$2"' _ "$D" "$node" </dev/null >"$D/log/$node.out" 2>&1 &
echo $! >"$D/run/$node.pid"
