# Sourced by the benches: `options NAME pairs=5 megabytes=420 -- "$@"` reads --pairs N and --megabytes N into $pairs and
# $megabytes; `work_folder NAME` makes $folder on the build's disk (/tmp may be memory), removed at the end.
# Also sets $here, the folder of the benches. bench/run sets FLYWHEEL_BUILD and FLYWHEEL_ROOT.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

options() {
  local bench=$1 known=" " usage="" option
  shift
  while [[ $1 != -- ]]; do
    printf -v "${1%%=*}" %s "${1#*=}"
    known+="${1%%=*} "
    usage+=" [--${1%%=*} ${1#*=}]"
    shift
  done
  shift
  while (($#)); do
    option=${1#--}
    if [[ $1 != --* || $known != *" $option "* || $# -lt 2 ]]; then
      echo "usage: bench/run $bench$usage" >&2
      exit 2
    fi
    printf -v "$option" %s "$2"
    shift 2
  done
}

work_folder() {
  folder=$(mktemp -d "$FLYWHEEL_BUILD/bench-$1.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
}
