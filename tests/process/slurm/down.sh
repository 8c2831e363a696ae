#!/usr/bin/env bash
# down.sh DIR: ends what up.sh started there. A node's processes go with its namespace.
set -uo pipefail
D=$(realpath -m "$1")
pids=()
for file in "$D"/run/node*.pid "$D/run/slurmctld.pid" "$D/run/munged.pid"; do
  [ -s "$file" ] || continue
  pid=$(cat "$file")
  rm -f "$file"
  # A pid may be another's by now: its command line must still name the folder.
  if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$D"; then
    kill -9 "$pid" 2>/dev/null && pids+=("$pid")
  fi
done
dead() { # a zombie is dead: who should reap it may be slow
  local state
  state=$(awk '/^State/ {print $2}' "/proc/$1/status" 2>/dev/null)
  [ -z "$state" ] || [ "$state" = Z ]
}
for pid in "${pids[@]}"; do
  for _ in $(seq 50); do
    dead "$pid" && break
    sleep 0.1
  done
done
true
