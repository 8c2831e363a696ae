#!/usr/bin/env bash
# Sets up, builds and runs every test, twice: as released, and under the address and undefined-behaviour sanitizers.
# FLYWHEEL_TEST_PRESETS=release leaves out the second half.
# The last lines are ctest's summaries. FLYWHEEL_JOBS sets how many at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deploy/setup.sh

read -r -a presets <<<"${FLYWHEEL_TEST_PRESETS:-release asan}"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$PWD/deploy/lsan.supp:print_suppressions=0}

failed=0
summaries=()
for preset in "${presets[@]}"; do
  started=$SECONDS
  echo "== $preset: building"
  deploy/build.sh "$preset"
  built=$SECONDS
  echo "== $preset: built in $((built - started)) s; testing"
  log=build/$preset/tests.log
  if ! ctest --preset "$preset" -j "${FLYWHEEL_JOBS:-$(nproc)}" --no-tests=error >"$log" 2>&1; then
    failed=1
    # Only what went wrong; the whole log stays in the build folder.
    grep -vE '^ *[0-9]+/[0-9]+ Test +#.* Passed +[0-9.]+ sec$|^ +Start +[0-9]+: ' "$log" | tail -n 400
  fi
  # From the summary line on: with a failure the list of the failed tests comes after it.
  summaries+=("== $preset: built in $((built - started)) s, tested in $((SECONDS - built)) s (build/$preset/tests.log)"
    "$(sed -n '/tests passed,/,$p' "$log" | grep -v '^$')")
done
printf '%s\n' "${summaries[@]}"
exit "$failed"
