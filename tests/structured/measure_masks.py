"""How long masks take: measure_masks.py EVERY SAMPLER TOKENIZER_JSON…. A row for each tokenizer, over every EVERY-th
schema of schemas.py."""

import json
import subprocess
import sys

from schemas import all_schemas


def row(schemas, sampler, tokenizer):
    lines = "".join(json.dumps({"schema": schema}) + "\n" for schema in schemas)
    result = subprocess.run(
        [sampler, tokenizer, "5", "200"], input=lines, capture_output=True, encoding="utf-8", check=True
    )
    answers = [answer for answer in map(json.loads, result.stdout.splitlines()) if "error" not in answer]
    masks = json.loads(result.stderr.splitlines()[-1])
    over = sorted(answer["mask_us"][1] for answer in answers)
    return {
        "schemas": len(answers),
        "refused": len(schemas) - len(answers),
        "masks": masks["num_masks"],
        "mask p50 us": masks["mask_us"][0],
        "mask p99 us": masks["mask_us"][1],
        "mask p50 us (median schema)": sorted(a["mask_us"][0] for a in answers)[len(answers) // 2],
        "mask p99 us (median schema)": over[len(over) // 2],
        "mask p99 us (99th schema)": over[len(over) * 99 // 100],
        "mask p99 us (worst schema)": over[-1],
        "schemas with p99 over 1 ms": sum(p99 > 1000 for p99 in over),
        "mask max us": max(answer["mask_us"][2] for answer in answers),
        "compile ms (median)": sorted(a["compile_ms"] for a in answers)[len(answers) // 2],
        "compile ms (max)": max(answer["compile_ms"] for answer in answers),
        "serialised KiB (median)": sorted(a["num_bytes"] for a in answers)[len(answers) // 2] / 1024,
    }


def main():
    every, sampler, *tokenizers = sys.argv[1:]
    for tokenizer in tokenizers:
        print(tokenizer)
        for name, value in row(all_schemas()[:: int(every)], sampler, tokenizer).items():
            print(f"  {name}: {value:.1f}" if isinstance(value, float) else f"  {name}: {value}")


if __name__ == "__main__":
    main()
