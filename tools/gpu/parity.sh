#!/usr/bin/env bash
# CUDA against the CPU, on a machine with a GPU: tools/gpu/parity.sh FOLDER
# FOLDER holds cuda_models_test (build it with: cmake --preset dev -B build-cuda -DGALE_WITH_CUDA=ON && ninja -C build-cuda
# cuda_models_test). Run from the root of the checkout: the test reads models/ and tests/golden/.
set -uo pipefail
folder=${1:?the folder with cuda_models_test}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
"$folder/cuda_models_test" 2>&1 | grep -vE '^\[ (RUN|      OK)|^(info|warning) '
status=${PIPESTATUS[0]}
if command -v compute-sanitizer >/dev/null && [ "${2:-}" = --sanitize ]; then
  for tool in memcheck racecheck; do
    echo "compute-sanitizer $tool"
    compute-sanitizer --tool "$tool" --error-exitcode 9 "$folder/cuda_models_test" --gtest_filter='*bf16' 2>&1 | tail -n 5 || status=1
  done
fi
exit "$status"
