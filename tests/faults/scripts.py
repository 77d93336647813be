"""Scripts for the scripted engine, in words of the built-in model."""

import json

from gale_server import NANO_FLASH
from tokenizers import Tokenizer

TOKENIZER = Tokenizer.from_file(str(NANO_FLASH / "tokenizer.json"))


def ids(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


def write_script(folder, **parts):
    """The file of a script; a short answer and 1 ms steps unless `parts` say otherwise."""
    script = {
        "vocab_size": TOKENIZER.get_vocab_size(),
        "max_model_len": 4096,
        "step_ms": 1,
        "default": {"tokens": ids("</think>The wind is strong today. "), "repeat": 0},
        **parts,
    }
    path = folder / "script.json"
    path.write_text(json.dumps(script))
    return path


def chat(text, max_tokens=20, **more):
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }
