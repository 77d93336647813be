#!/usr/bin/env bash
# Trains the built-in models and scores them: tools/gpu/train_nano.sh FOLDER [SECONDS_FLASH SECONDS_GLM4]
# Run from the root of the checkout, with torch, transformers, tokenizers, safetensors and jinja2; needs no network.
# With two GPUs both models train at once, with one they take turns; 0 seconds leaves a model out. FOLDER receives
# nano-flash/*.safetensors, nano-glm4/*.safetensors, configs.tar (the JSON files of both, how long they trained among
# them) and scores.txt, which is also printed last. STEPS=N TOKENS=N train N steps of N tokens without compiling: a try
# on a CPU.
set -uo pipefail
out=${1:?the folder for the results}
num_gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)
if [ "$num_gpus" -ge 2 ]; then parallel=true; defaults="400 300"; else parallel=false; defaults="330 120"; fi
seconds_flash=${2:-${defaults% *}}
seconds_glm4=${3:-${defaults#* }}
workers=$(($(nproc) - 1))
if $parallel; then workers=$((workers / 2)); fi
[ "$workers" -le 16 ] || workers=16
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} PYTHONUNBUFFERED=1
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

length() {   # length SECONDS: the options that say how long to train
  if [ -n "${STEPS:-}" ]; then
    echo "--steps $STEPS --tokens ${TOKENS:-2048} --no-compile"
  else
    echo "--seconds $1"
  fi
}

train() {   # train NAME ARCHITECTURE SECONDS GPU
  local name=$1 folder="$work/$1"
  [ "$3" != 0 ] || return 0
  mkdir -p "$folder" "$out/$name"
  # shellcheck disable=SC2046
  CUDA_VISIBLE_DEVICES=$4 python3 models/train/train.py --architecture "$2" --tokenizer models/nano-flash \
    --out "$folder" --workers "$workers" $(length "$3") 2>&1 | sed -u "s/^/$name: /"
  [ "${PIPESTATUS[0]}" = 0 ] || return 1
  cp models/nano-flash/{tokenizer.json,tokenizer_config.json,chat_template.jinja} "$folder/"
  cp "$folder"/model-*.safetensors "$out/$name/"
}

evaluate() {   # evaluate NAME GPU
  [ -f "$work/$1/config.json" ] || return 0
  { echo "== $1"
    CUDA_VISIBLE_DEVICES=$2 python3 models/train/evaluate.py --model "$work/$1" --show 25 ${LIMIT:+--limit "$LIMIT"}
  } >"$work/$1.scores" 2>&1
}

status=0
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null
second=0
if $parallel; then
  second=1
  train nano-flash glm4_moe_lite "$seconds_flash" 0 & flash=$!
  train nano-glm4 glm4 "$seconds_glm4" 1 & glm4=$!
  wait "$flash" || status=1
  wait "$glm4" || status=1
else
  train nano-flash glm4_moe_lite "$seconds_flash" 0 || status=1
  train nano-glm4 glm4 "$seconds_glm4" 0 || status=1
fi
(cd "$work" && find . -maxdepth 2 \( -name '*config.json' -o -name '*.index.json' -o -name training.json \) \
  -not -name 'tokenizer*' -print0 | tar -cf - --null -T -) >"$out/configs.tar" || status=1
echo "trained after $SECONDS s"

evaluate nano-flash 0 & flash=$!
evaluate nano-glm4 "$second" & glm4=$!
wait "$flash" || status=1
wait "$glm4" || status=1
cat "$work"/*.scores >"$out/scores.txt" || status=1
echo "scored after $SECONDS s"
find "$out" -type f -printf '%s %P\n'
# The tables last: of a long output only the end is kept.
cat "$out/scores.txt"
exit "$status"
