#!/usr/bin/env bash
# about: journal appends beside a raw append+fsync loop; verifying a million events beside raw SHA-256
# Arguments are handed to bench_journal, for example: bench/run journal --seconds 0.5 --pairs 5 --events 1000000
source "$(dirname "${BASH_SOURCE[0]}")/options.bash"
work_folder journal
"$FLYWHEEL_BUILD/bench_journal" "$folder" "$@"
