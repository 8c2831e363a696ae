#!/usr/bin/env bash
# bench/peers/build_allreduce.sh FOLDER: builds the peers of bench/allreduce into FOLDER: allreduce_gloo and allreduce_mpi. Open MPI comes
# from Debian (openmpi-bin, libopenmpi-dev) and is installed if it is missing; neither the product nor its tests need it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
if ! command -v mpicxx >/dev/null || ! command -v mpirun >/dev/null; then
  as_root=()
  if ((EUID != 0)); then as_root=(sudo -n); fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends openmpi-bin libopenmpi-dev >&2
fi
g++ -std=c++17 -O3 -DPEER_GLOO "$here/allreduce_peer.cpp" -o "$folder/allreduce_gloo" -lgloo -lpthread
mpicxx -std=c++17 -O3 -DPEER_MPI "$here/allreduce_peer.cpp" -o "$folder/allreduce_mpi"
