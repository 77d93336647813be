#!/usr/bin/env bash
# Speed of the GPU's ops at the shapes of the models: tools/gpu/ops_bench.sh FOLDER [part of a name …]
# FOLDER holds cuda_ops_bench (build it with: cmake --preset release-cuda -DGALE_TESTS=ON &&
# ninja -C build-cuda cuda_ops_bench). Prints microseconds and the share of the bound for each op, shape, precision and
# number of tokens; the figures of record are in perf/.
set -euo pipefail
folder=${1:?the folder with cuda_ops_bench}
shift
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem --format=csv,noheader
"$folder/cuda_ops_bench" "$@"
