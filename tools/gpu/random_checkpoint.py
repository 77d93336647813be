"""Checkpoints of random numbers with the names, types and shapes that a model of gale asks for."""

import json
import multiprocessing
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/support"))
from fp8_layout import FP8_CONFIG, LINEAR  # noqa: E402

SHARD_BYTES = 5_000_000_000
BLOCK = 64 << 20
DTYPES = {"f32": ("F32", 4), "bf16": ("BF16", 2), "fp8": ("F8_E4M3", 1)}  # wide ones first: what follows is aligned


def tensors_of(gale, folder):
    """(name, dtype, shape) of everything in use, in the order of layers, as `gale inspect` lists it."""
    command = [gale, "inspect", folder, "--load-format", "dummy", "--tensors", "--device", "cpu"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False
    )  # no memory is no matter
    out = done.stdout
    found = re.findall(r"^(\S+)\s+(bf16|f32)\s+\[([\d, ]+)\]\s.*in use", out, re.MULTILINE)
    if not found:
        raise SystemExit(f"gale inspect lists no tensors of {folder}: {done.stderr[-500:]}")
    tensors = [(name, dtype, [int(x) for x in shape.split(",")]) for name, dtype, shape in found]
    return sorted(tensors, key=lambda t: ([int(x) for x in re.findall(r"layers\.(\d+)", t[0])] or [-1], t[0]))


def in_fp8(tensors):
    """As the official FP8 checkpoints hold them: linear layers in e4m3, a scale a row, but head and router."""
    for name, dtype, shape in tensors:
        if name.endswith(LINEAR):
            yield name, "fp8", shape
            yield name + "_scale", "f32", [shape[0], 1]
        else:
            yield name, dtype, shape


def shards_of(tensors):
    shards, size = [[]], 0
    for name, dtype, shape in tensors:
        num_bytes = DTYPES[dtype][1]
        for extent in shape:
            num_bytes *= extent
        if size + num_bytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append((name, dtype, shape, num_bytes))
        size += num_bytes
    return shards


def write_headers(folder, shards):
    """The files at their full lengths; (path, offset, bytes, dtype) of what has to be filled."""
    weight_map, pieces = {}, []
    for i, shard in enumerate(shards):
        path = folder / f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        header, offset, regions = {}, 0, []
        for dtype, (stored, _) in DTYPES.items():
            begin = offset
            for name, _, shape, num_bytes in (tensor for tensor in shard if tensor[1] == dtype):
                header[name] = {"dtype": stored, "shape": shape, "data_offsets": [offset, offset + num_bytes]}
                weight_map[name] = path.name
                offset += num_bytes
            regions.append((dtype, begin, offset))
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + offset)
        data = 8 + len(text)
        for dtype, begin, end in regions:
            pieces += [(path, data + at, min(BLOCK, end - at), dtype) for at in range(begin, end, BLOCK)]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return pieces


def random_bytes(dtype, num_bytes, seed):
    """Of numbers that let nothing overflow on the way through many layers: magnitudes of 2^-5 to 2^-4, in e4m3 of 1 to
    2 with f32 scales of 2^-5."""
    random = numpy.random.default_rng(seed)
    if dtype == "f32":
        return numpy.full(num_bytes // 4 + 1, 2.0**-5, numpy.float32).tobytes()
    if dtype == "fp8":
        return ((random.integers(0, 256, num_bytes, dtype=numpy.uint8) & 0x87) | 0x38).tobytes()
    return ((random.integers(0, 1 << 16, num_bytes // 2 + 1, dtype=numpy.uint16) & 0x807F) | 0x3D00).tobytes()


def fill(pieces):
    blocks = {}
    for dtype in DTYPES:
        largest = max((piece[2] for piece in pieces if piece[3] == dtype), default=0)
        blocks[dtype] = memoryview(random_bytes(dtype, largest, len(pieces)))
    for path, offset, num_bytes, dtype in pieces:
        with open(path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), blocks[dtype][:num_bytes], offset)


def write_checkpoint(gale, folder, num_processes=16, is_fp8=False):
    """Into a folder that holds everything else; the number of bytes."""
    tensors = tensors_of(gale, folder)
    if is_fp8:
        config = json.loads((folder / "config.json").read_text()) | {"quantization_config": FP8_CONFIG}
        (folder / "config.json").write_text(json.dumps(config))
        tensors = list(in_fp8(tensors))
    shards = shards_of(tensors)
    total = sum(t[3] for shard in shards for t in shard)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise SystemExit(f"{total / 1e9:.1f} GB do not fit {folder}: {free / 1e9:.1f} GB are free")
    pieces = write_headers(folder, shards)
    with multiprocessing.Pool(num_processes) as pool:
        pool.map(fill, [pieces[i::num_processes] for i in range(num_processes)])
    return total
