"""The training mix."""

import random

import data_skills
from dialogue import segments


def sample(rng):
    return data_skills.sample(rng)


def corpus(seed: int, count: int):
    """The text of `count` dialogues, for the tokenizer."""
    rng = random.Random(f"tokenizer {seed}")
    for _ in range(count):
        for text, _learnt in segments(sample(rng)):
            yield text
