#!/usr/bin/env bash
# CUDA against the CPU, on a machine with a GPU: tools/gpu/parity.sh FOLDER [--sanitize]
# FOLDER holds cuda_ops_test (each op against a reference in double precision), cuda_models_test (whole models against
# the CPU) and cuda_quality_test (FP8 against bf16); build them with: cmake --preset dev -B build-cuda
# -DGALE_WITH_CUDA=ON && ninja -C build-cuda cuda_ops_test cuda_models_test cuda_quality_test
# Run from the root of the checkout: the tests read models/ and tests/golden/.
set -uo pipefail
folder=${1:?the folder with cuda_ops_test and cuda_models_test}
status=0
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
for program in cuda_ops_test cuda_models_test cuda_quality_test; do
  "$folder/$program" 2>&1 | grep -vE '^\[ (RUN|      OK)|^(info|warning) '
  [ "${PIPESTATUS[0]}" = 0 ] || status=1
done
sanitize() { python3 "$(dirname "$0")/sanitize.py" --seconds 7200 --limit 7200 "$@" || status=1; }
if command -v compute-sanitizer >/dev/null && [ "${2:-}" = --sanitize ]; then
  for tool in memcheck racecheck; do
    sanitize --tool "$tool" --program "$folder/cuda_ops_test" \
      --filter 'MoeExperts.multiply_the*:HeadLinear*:MoeRoute*:Sample*'
    sanitize --tool "$tool" --program "$folder/cuda_models_test" --filter '*bf16'
  done
fi
exit "$status"
