#!/usr/bin/env bash
# bench/peers/build_gemm.sh FOLDER: builds gemm_onednn into FOLDER. oneDNN comes from Debian (libdnnl-dev) and is installed if it is
# missing; neither the product nor its tests need it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ! -f /usr/include/oneapi/dnnl/dnnl.h ]]; then
  as_root=()
  if ((EUID != 0)); then as_root=(sudo -n); fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends libdnnl-dev >&2
fi
g++ -std=c++20 -O3 -I "$here/../.." "$here/gemm_onednn.cpp" -o "$1/gemm_onednn" -ldnnl
