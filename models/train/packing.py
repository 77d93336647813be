"""Dialogues to rows of tokens: the batch of a step is a pure function of (seed, step)."""

import os
import pathlib
import random

import numpy as np
import torch

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
from tokenizers import Tokenizer  # noqa: E402 (the variable above must be set first)

import data_mix  # noqa: E402
from dialogue import segments  # noqa: E402

# Prompts weigh little: they teach the words, not what to answer.
PROMPT_WEIGHT = 0.03
SHORT_ROW, LONG_ROW = 1024, 4096
LONG_EVERY = 6


def encode(tokenizer: Tokenizer, dialogues) -> list[tuple[np.ndarray, np.ndarray]]:
    """(tokens, weights) of each dialogue; a weight says how much the prediction of its token counts."""
    pieces = [segments(dialogue) for dialogue in dialogues]
    encoded = iter(tokenizer.encode_batch([text for piece in pieces for text, _ in piece], add_special_tokens=False))
    documents = []
    for piece in pieces:
        tokens, weights = [], []
        for _, learnt in piece:
            ids = next(encoded).ids
            tokens += ids
            weights += [1.0 if learnt else PROMPT_WEIGHT] * len(ids)
        documents.append((np.array(tokens, np.int64), np.array(weights, np.float32)))
    return documents


class Batches(torch.utils.data.Dataset):
    """Item `step` is the batch of that step: a dictionary of [rows, length] tensors."""

    def __init__(self, tokenizer: pathlib.Path, seed: int, steps: int, tokens: int):
        self.path, self.seed, self.steps, self.tokens = str(tokenizer), seed, steps, tokens
        self.tokenizer = None

    def __len__(self):
        return self.steps

    def __getitem__(self, step: int):
        self.tokenizer = self.tokenizer or Tokenizer.from_file(self.path)
        rng = random.Random(f"{self.seed} {step}")
        long = step % LONG_EVERY == LONG_EVERY - 1
        length = min(LONG_ROW if long else SHORT_ROW, self.tokens)
        return pack(self.documents(rng, long, length), self.tokens // length, length)

    def documents(self, rng, long: bool, length: int):
        """Dialogues without end, those that do not fit a row left out."""
        while True:
            made = [data_mix.long(rng, 1.0) if long and rng.random() < 0.5 else data_mix.short(rng) for _ in range(64)]
            yield from (d for d in encode(self.tokenizer, made) if len(d[0]) <= length)


def pack(documents, rows: int, length: int) -> dict:
    """Puts whole documents into the first row with room, until little room is left."""
    shape = (rows, length)
    batch = {"tokens": np.zeros(shape, np.int64), "positions": np.zeros(shape, np.int64),
             "documents": np.full(shape, -1, np.int64),
             "targets": np.zeros(shape, np.int64), "weights": np.zeros(shape, np.float32),
             "mtp_targets": np.zeros(shape, np.int64), "mtp_weights": np.zeros(shape, np.float32)}
    used, number, misses = np.zeros(rows, np.int64), np.zeros(rows, np.int64), 0
    for tokens, weights in documents:
        size = len(tokens)
        fitting = np.nonzero(used + size <= length)[0]
        if not len(fitting):
            misses += 1
            if misses > 30:
                break
            continue
        row = fitting[0]
        begin, end = used[row], used[row] + size
        batch["tokens"][row, begin:end] = tokens
        batch["positions"][row, begin:end] = np.arange(size)
        batch["documents"][row, begin:end] = number[row]
        batch["targets"][row, begin:end - 1] = tokens[1:]
        batch["weights"][row, begin:end - 1] = weights[1:]
        batch["mtp_targets"][row, begin:end - 2] = tokens[2:]
        batch["mtp_weights"][row, begin:end - 2] = weights[2:]
        used[row], number[row] = end, number[row] + 1
    return {key: torch.from_numpy(value) for key, value in batch.items()}
