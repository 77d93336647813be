"""A copy of a model in which one token's embedding is NaN: whoever uses that token has no usable logits."""

import json
import shutil
import struct
from pathlib import Path


def tensor_place(folder, name):
    """File, byte offset and header entry of a tensor."""
    index = json.loads((Path(folder) / "model.safetensors.index.json").read_text())
    path = Path(folder) / index["weight_map"][name]
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(length))[name]
    return path, 8 + length + entry["data_offsets"][0], entry


def spoil_token(source, target, token, tensor="model.embed_tokens.weight"):
    shutil.copytree(source, target)
    path, offset, entry = tensor_place(target, tensor)
    assert entry["dtype"] == "BF16"
    width = entry["shape"][1]
    with path.open("r+b") as file:
        file.seek(offset + token * width * 2)
        file.write(b"\xc0\x7f" * width)
    return target
