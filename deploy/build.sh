#!/usr/bin/env bash
# deploy/build.sh PRESET [TARGET...]: configures the preset once and builds it (all targets, or those named).
# Prints little when nothing changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:?usage: deploy/build.sh PRESET [TARGET...]}
shift
build=build/$preset
mkdir -p "$build"
log=$build/configure.log
# Without build.ninja a configuration never succeeded; with it ninja configures again by itself when needed.
if [[ ! -f $build/build.ninja ]] && ! cmake --preset "$preset" >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "error: the preset $preset could not be configured (see above, and $log)" >&2
  exit 1
fi
targets=()
for target in "$@"; do
  targets+=(--target "$target")
done
quiet=()
[[ -t 1 ]] || quiet=(--quiet) # a log needs no line per file
cmake --build "$build" "${targets[@]}" -- "${quiet[@]}" -j "${FLYWHEEL_JOBS:-$(nproc)}"
