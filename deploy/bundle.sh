#!/usr/bin/env bash
# deploy/bundle.sh FOLDER [PROGRAM...]: a folder of programs that run on another machine: the programs of build/release, the
# CUDA module if it was built, and in FOLDER/lib every library they need except glibc and what comes with a GPU's driver and
# toolkit. Without PROGRAMs: what bench/gpu runs. FLYWHEEL_BUNDLE_MAX (megabytes, 64) is the most it may weigh.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${FLYWHEEL_BUILD:-$root/build/release}
folder=${1:?usage: deploy/bundle.sh FOLDER [PROGRAM...]}
shift
programs=("$@")
if ((${#programs[@]} == 0)); then
  programs=(test_gpu_kernels test_gpu_models test_nccl bench_kernels_gpu bench_train_gpu bench_train_cpu)
fi
command -v patchelf >/dev/null || { echo "error: patchelf is missing; run deploy/setup.sh" >&2; exit 1; }
for program in "${programs[@]}"; do
  if [[ ! -x $build/$program ]]; then
    echo "error: $build/$program was not built; run deploy/build.sh release $program" >&2
    exit 1
  fi
done
mkdir -p "$folder/lib"
folder=$(cd "$folder" && pwd)

install_stripped() { # FROM TO RPATH
  install -m 755 "$1" "$2"
  strip --strip-debug "$2"
  patchelf --set-rpath "$3" "$2"
}
for program in "${programs[@]}"; do
  install_stripped "$build/$program" "$folder/$program" "\$ORIGIN/lib"
done
if [[ -f $build/libflywheel_cuda.so ]]; then # cuBLASLt stays where the toolkit put it
  install_stripped "$build/libflywheel_cuda.so" "$folder/libflywheel_cuda.so" "\$ORIGIN:/usr/local/cuda/lib64"
fi
missing=$(ldd "${programs[@]/#/$build/}" | awk '/not found/ {print $1}' | sort -u)
if [[ -n $missing ]]; then
  printf 'error: not found on this machine: %s\n' $missing >&2
  exit 1
fi
ldd "${programs[@]/#/$build/}" | awk '$2 == "=>" {print $3}' | sort -u |
  grep -vE '/(ld-linux|lib(c|m|dl|rt|pthread|resolv)\.so)' | while read -r library; do
  # RUNPATH is not inherited: each library finds its own beside it.
  install_stripped "$library" "$folder/lib/$(basename "$library")" "\$ORIGIN"
done
{
  echo "build: release"
  echo "commit: $(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)"
} >"$folder/bundle.txt"

megabytes=$(du -sm "$folder" | cut -f1)
echo "$folder: ${#programs[@]} programs, $megabytes MB"
if ((megabytes > ${FLYWHEEL_BUNDLE_MAX:-64})); then
  echo "error: that is more than ${FLYWHEEL_BUNDLE_MAX:-64} MB (FLYWHEEL_BUNDLE_MAX)" >&2
  exit 1
fi
