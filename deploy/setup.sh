#!/usr/bin/env bash
# Installs the Debian packages of deploy/packages.txt that are missing. Quick when nothing is.
# As root, or through sudo. FLYWHEEL_SETUP=skip: trust that everything is there (other distributions).
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [[ ${FLYWHEEL_SETUP:-} == skip ]]; then
  exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "error: this is not a Debian-like system (no dpkg-query, no apt-get)" >&2
  echo "  hint: install the counterparts of deploy/packages.txt yourself, then set FLYWHEEL_SETUP=skip" >&2
  exit 1
fi

mapfile -t wanted < <(grep -Ev '^[[:space:]]*(#|$)' "$folder/packages.txt")
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null | awk '$1 == "ii" {print $2}' || true)
mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort -u) <(printf '%s\n' "$installed" | sort -u))
if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "error: ${#missing[@]} packages are missing, and there is neither root nor sudo here to install them" >&2
    echo "  hint: ask somebody who is root to run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
  if [[ ! -t 0 ]]; then
    as_root=(sudo -n) # nobody is there to type a password
  fi
fi

install_missing() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing ${#missing[@]} packages: ${missing[*]}"
# The package lists may be absent or stale: only then they are fetched.
if ! install_missing >"$log" 2>&1; then
  if ! "${as_root[@]}" apt-get update -q >"$log" 2>&1 || ! install_missing >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "error: the packages could not be installed (apt-get's last words are above)" >&2
    echo "  hint: try it by hand: apt-get update && apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi
