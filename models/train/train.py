"""Trains nano-flash and writes the checkpoint.

    python models/train/train.py --tokenizer models/nano-flash --out DIR --steps 2600
"""

import argparse
import json
import pathlib
import time

import torch

from checkpoint import write_configs, write_weights
from model import ModelConfig, NanoFlash
import model as model_module
from optimizer import make_optimizers
from packing import Batches

MTP_WEIGHT = 0.2
BALANCE_RATE = 2e-3
WARM_UP, DECAY_FROM = 0.03, 0.35


def schedule(progress: float) -> float:
    """Warm-up, a flat stretch, then linearly to zero."""
    if progress < WARM_UP:
        return progress / WARM_UP + 1e-3
    return min(1.0, (1 - progress) / (1 - DECAY_FROM))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True, help="folder with tokenizer.json")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder that receives weights and configs")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--seconds", type=float, default=0, help="choose the number of steps that fits this time")
    parser.add_argument("--tokens", type=int, default=131072, help="tokens of a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def compile_parts(model: NanoFlash):
    """Layers of one kind share their code, so compiling them one by one is quick."""
    torch._dynamo.config.cache_size_limit = 64
    for layer in list(model.layers) + [model.mtp.layer]:
        layer.compile(dynamic=False)
    model_module.weighted_loss = torch.compile(model_module.weighted_loss, dynamic=False)


def train_step(model, optimizers, batch, progress: float, device: str):
    batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
    with torch.autocast(device, torch.bfloat16):
        main, ahead = model.losses(**batch)
    (main + MTP_WEIGHT * ahead).backward()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(progress)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    for layer in model.moe_layers():
        layer.balance(BALANCE_RATE * min(1.0, 2 * schedule(progress)))
    return main.detach(), ahead.detach()


def report(model, step: int, steps: int, losses, started: float):
    main, ahead = (loss.item() for loss in losses)
    spread = max(((layer.load.max() / layer.load.mean()).item() for layer in model.moe_layers()))
    print(f"step {step}/{steps} loss {main:.4f} mtp {ahead:.4f} busiest expert {spread:.2f}x "
          f"{time.monotonic() - started:.0f} s", flush=True)


def train(options) -> NanoFlash:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    model = NanoFlash(ModelConfig()).to(device).train()
    if not options.no_compile:
        compile_parts(model)
    optimizers = make_optimizers(model, options.muon_lr, options.adam_lr)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    limit = 10**6 if options.seconds else options.steps
    batches = torch.utils.data.DataLoader(
        Batches(options.tokenizer / "tokenizer.json", options.seed, limit, options.tokens), batch_size=None,
        num_workers=options.workers, prefetch_factor=4 if options.workers else None, pin_memory=device == "cuda")
    steps, started, measured = options.steps, time.monotonic(), 0.0
    for step, batch in enumerate(batches):
        losses = train_step(model, optimizers, batch, step / steps, device)
        if step % 50 == 0 or step == steps - 1:
            report(model, step, steps, losses, started)
        if options.seconds and step == 12:  # both row lengths are compiled by now
            measured = time.monotonic()
        if options.seconds and step == 72:
            losses[0].item()
            left = options.seconds - (time.monotonic() - started)
            steps = step + int(left / ((time.monotonic() - measured) / 60))
            print(f"{steps} steps fit", flush=True)
        if step + 1 >= steps:
            break
    return model


def main():
    options = parse_options()
    started = time.monotonic()
    model = train(options)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = json.loads((options.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    write_weights(model, options.out)
    write_configs(model.c, options.out, min(token["id"] for token in tokenizer["added_tokens"]))
    print(f"wrote {options.out} after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
