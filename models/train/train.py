"""Trains nano-flash, or with --architecture glm4 nano-glm4, and writes the checkpoint.

    python models/train/train.py --tokenizer models/nano-flash --out DIR --steps 2600
"""

import argparse
import json
import pathlib
import time

import torch

from checkpoint import MODELS, write_configs, write_json, write_weights
import glm4
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
    parser.add_argument("--architecture", choices=sorted(MODELS), default="glm4_moe_lite")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--seconds", type=float, default=0, help="choose the number of steps that fits this time")
    parser.add_argument("--tokens", type=int, default=131072, help="tokens of a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adam-lr", type=float, default=3e-3)
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def compile_parts(model):
    """Layers of one kind share their code, so compiling them one by one is quick."""
    torch._dynamo.config.cache_size_limit = 64
    for part in model.compiled_parts():
        part.compile(dynamic=False)
    glm4.weighted_loss = model_module.weighted_loss = torch.compile(model_module.weighted_loss, dynamic=False)


def train_step(model, optimizers, batch, progress: float, device: str):
    batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
    with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
        main, *ahead = model.losses(**batch)
    (main + MTP_WEIGHT * sum(ahead)).backward()
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(progress)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    for layer in model.moe_layers():
        layer.balance(BALANCE_RATE * min(1.0, 2 * schedule(progress)))
    return [loss.detach() for loss in (main, *ahead)]


def report(model, step: int, steps: int, losses, waited: float, started: float):
    text = f"step {step}/{steps} loss {losses[0].item():.4f}"
    if len(losses) > 1:
        text += f" mtp {losses[1].item():.4f}"
    if model.moe_layers():
        busiest = max((layer.load.max() / layer.load.mean()).item() for layer in model.moe_layers())
        text += f" busiest expert {busiest:.2f}x"
    print(f"{text} waited for data {waited:.0f} s, {time.monotonic() - started:.0f} s", flush=True)


def timed(batches, waits: list[float]):
    """The batches; waits[0] grows by the time spent waiting for them."""
    source = iter(batches)
    while True:
        begun = time.monotonic()
        batch = next(source, None)
        waits[0] += time.monotonic() - begun
        if batch is None:
            return
        yield batch


def train(options):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    make_config, make_model = MODELS[options.architecture]
    model = make_model(make_config()).to(device).train()
    # Of the fused kernels only this one is sure to take a mask of documents.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
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
    steps, started, measured, waits = options.steps, time.monotonic(), 0.0, [0.0]
    for step, batch in enumerate(timed(batches, waits)):
        losses = train_step(model, optimizers, batch, step / steps, device)
        if step % 50 == 0 or step == steps - 1:
            report(model, step, steps, losses, waits[0], started)  # waits for the device: the clock below is right
            if options.seconds and step == 50:
                measured = time.monotonic()  # all shapes are compiled by now
            elif options.seconds and step > 50:
                left = options.seconds - (time.monotonic() - started)
                steps = step + 1 + max(0, int(left / ((time.monotonic() - measured) / (step - 50))))
        if step + 1 >= steps:
            break
    device_name = torch.cuda.get_device_name() if device == "cuda" else device
    return model, {"steps": steps, "tokens_of_a_step": options.tokens, "seconds": round(time.monotonic() - started),
                   "waited_for_data_seconds": round(waits[0]), "device": device_name}


def main():
    options = parse_options()
    started = time.monotonic()
    model, account = train(options)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = json.loads((options.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    write_weights(model, options.out)
    write_json(options.out / "training.json", account)
    write_configs(model.c, options.out, min(token["id"] for token in tokenizer["added_tokens"]))
    print(f"wrote {options.out} after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
