#!/usr/bin/env bash
# about: journal appends beside a raw append+fsync loop; verifying a million events beside raw SHA-256
# Arguments are handed to bench_journal, for example: bench/run journal --seconds 0.5 --pairs 5 --events 1000000
set -euo pipefail
# On the disk of the build, not in a temporary folder, which may be memory.
folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-journal.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$FLYWHEEL_BUILD/bench_journal" "$folder" "$@"
