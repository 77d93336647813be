#!/usr/bin/env bash
# What a session on a machine with a card needs beside the checkout, as one small folder:
#     tools/gpu/pack.sh BUILD_FOLDER FOLDER [PROGRAM …]
# FOLDER/programs.tar.xz: the programs, stripped. FOLDER/commit: what they were built of. FOLDER/programs.txt: each
# with its size and its tests. Ends with 1 if a program is missing, or if folder and checkout together are too large to
# travel (GALE_PACK_MIB, 64). tools/gpu/session.py unpacks it. Build first, for the one card that will be there:
#     cmake --preset release-cuda -B build-cuda -DGALE_TESTS=ON -DGALE_CUDA_ARCHITECTURES=90a-real
#     ninja -C build-cuda gale gale_with_faults cuda_ops_test cuda_models_test cuda_quality_test cuda_ops_bench \
#       cuda_attention_bench
set -euo pipefail
build=${1:?the build folder}
folder=${2:?the folder to write}
shift 2
[ "$#" -gt 0 ] || set -- gale gale_with_faults cuda_ops_test cuda_models_test cuda_quality_test cuda_ops_bench \
  cuda_attention_bench
limit_mib=${GALE_PACK_MIB:-64}
build=$(cd "$build" && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/programs.txt"
for program in "$@"; do
  found=""
  for place in bin tests/gpu tests/ops .; do
    [ -x "$build/$place/$program" ] && [ -f "$build/$place/$program" ] && found="$build/$place/$program" && break
  done
  [ -n "$found" ] || { echo "pack.sh: $program is not built in $build" >&2; exit 1; }
  strip -o "$work/$program" "$found"
  tests=""
  case $program in
    *_test) tests=$("$work/$program" --gtest_list_tests | grep -c '^  ') && tests=", $tests tests" ;;
  esac
  printf '%s: %d bytes%s\n' "$program" "$(stat -c %s "$work/$program")" "$tests" >>"$work/programs.txt"
done
tar -C "$work" -c "$@" | xz -T0 -6 >"$folder/programs.tar.xz"
mv "$work/programs.txt" "$folder/programs.txt"
{ git rev-parse --short HEAD; git diff --quiet HEAD || echo "with changes that are not committed"; } >"$folder/commit"

packed=$(stat -c %s "$folder/programs.tar.xz")
tree=$(git ls-files -z --cached --others --exclude-standard |
  xargs -0 stat -c %s -- 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }')
cat "$folder/programs.txt"
awk -v packed="$packed" -v tree="$tree" -v limit="$limit_mib" 'BEGIN {
  mib = 1048576
  printf "%.1f MiB of programs and %.1f MiB of checkout, of at most %d\n", packed / mib, tree / mib, limit
  exit packed + tree > limit * mib
}' || { echo "pack.sh: too large to travel; name fewer programs" >&2; exit 1; }
