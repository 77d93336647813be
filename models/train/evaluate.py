"""Scores a checkpoint on eval/*.jsonl with greedy decoding and prints the table.

    python models/train/evaluate.py --model models/nano-flash [--show 20] [--scores scores.json]
"""

import argparse
import json
import pathlib

import torch
from tokenizers import Tokenizer

from checkpoint import read_model
from scoring import is_right, parse_calls, print_table, split_reply
from test_template import render

FOLDER = pathlib.Path(__file__).resolve().parent / "eval"
MAX_NEW = 256
BATCH_TOKENS = 120_000


def read_cases(folder=FOLDER) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl"))
            for line in file.read_text(encoding="utf-8").splitlines()]


def prompt_of(case: dict) -> str:
    messages = json.loads(json.dumps(case["messages"]))
    for message in messages:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return render(messages, tools=case["tools"] or None, enable_thinking=case["thinking"])


@torch.no_grad()
def greedy(model, prompts: list[list[int]], stops: set[int], tokens_in_vocabulary: int) -> list[list[int]]:
    """Greedy continuations of one batch, by running the whole rows again for each token: simple, and quick enough."""
    device = next(model.parameters()).device
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    rows = torch.zeros(len(prompts), int(lengths.max()) + MAX_NEW, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        rows[row, :len(prompt)] = torch.tensor(prompt)
    begin, alive = lengths.clone(), torch.arange(len(prompts), device=device)
    stop_ids = torch.tensor(sorted(stops), device=device)
    for _ in range(MAX_NEW):
        width = int(lengths[alive].max())
        tokens = rows[alive, :width]
        positions = torch.arange(width, device=device).expand(len(alive), -1)
        hidden = model.hidden(tokens, model.context(positions, torch.zeros_like(tokens)))
        last = hidden[torch.arange(len(alive), device=device), lengths[alive] - 1]
        chosen = model.lm_head(last)[:, :tokens_in_vocabulary].argmax(-1)
        rows[alive, lengths[alive]] = chosen
        lengths[alive] += 1
        alive = alive[~torch.isin(chosen, stop_ids)]
        if not len(alive):
            break
    return [rows[i, begin[i]:lengths[i]].tolist() for i in range(len(prompts))]


def batches(prompts: list[list[int]]):
    """Indices of prompts of like length."""
    order, batch = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), []
    for index in order:
        if batch and (len(batch) + 1) * (len(prompts[index]) + MAX_NEW) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def judge(case: dict, tokenizer: Tokenizer, output: list[int], stops: set[int]) -> tuple[bool, str]:
    finished = bool(output) and output[-1] in stops
    text = tokenizer.decode(output[:-1] if finished else output, skip_special_tokens=False)
    _, content = split_reply(text, case["thinking"])
    content, calls = parse_calls(content, case["tools"])
    return is_right(case, content, calls, finished), text


def evaluate(folder: pathlib.Path, cases: list[dict], show: int) -> dict:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = read_model(folder).to(device, torch.bfloat16 if device == "cuda" else torch.float32)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stops = set(json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"])
    prompts = [tokenizer.encode(prompt_of(case), add_special_tokens=False).ids for case in cases]
    results, wrong = [None] * len(cases), []
    for batch in batches(prompts):
        outputs = greedy(model, [prompts[i] for i in batch], stops, tokenizer.get_vocab_size())
        for index, output in zip(batch, outputs):
            right, text = judge(cases[index], tokenizer, output, stops)
            results[index] = (cases[index]["group"], right)
            if not right:
                wrong.append((index, text))
    for index, text in sorted(wrong)[:show]:
        case = cases[index]
        print(f"- {case['group']}: {case['messages'][-1]['content'][-200:]!r}\n  wants "
              f"{json.dumps(case['expect'], ensure_ascii=False)[:300]}"
              f"\n  said  {text[:300]!r}")
    return print_table(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers")
    parser.add_argument("--scores", type=pathlib.Path, help="write the table as JSON")
    parser.add_argument("--limit", type=int, default=0, help="at most this many cases, spread over all")
    options = parser.parse_args()
    cases = read_cases()
    if options.limit and options.limit < len(cases):
        cases = [cases[i * len(cases) // options.limit] for i in range(options.limit)]
    table = evaluate(options.model, cases, options.show)
    if options.scores:
        options.scores.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
