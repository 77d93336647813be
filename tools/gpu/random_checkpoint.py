"""Checkpoints of random numbers with the names, types and shapes that a model of gale asks for."""

import json
import multiprocessing
import os
import re
import shutil
import struct
import subprocess

import numpy

SHARD_BYTES = 5_000_000_000
BLOCK = 64 << 20
DTYPES = {"bf16": ("BF16", 2), "f32": ("F32", 4)}


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
    """The files at their full lengths; (path, offset, bytes) of what has to be filled."""
    weight_map, pieces = {}, []
    for i, shard in enumerate(shards):
        path = folder / f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        header, offset = {}, 0
        for name, dtype, shape, num_bytes in sorted(shard, key=lambda t: -DTYPES[t[1]][1]):
            header[name] = {"dtype": DTYPES[dtype][0], "shape": shape, "data_offsets": [offset, offset + num_bytes]}
            weight_map[name] = path.name
            offset += num_bytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + offset)
        begin = 8 + len(text)
        pieces += [(path, begin + at, min(BLOCK, offset - at)) for at in range(0, offset, BLOCK)]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return pieces


def fill(pieces):
    """bf16 numbers of magnitude 2^-5 to 2^-4: nothing overflows on the way through many layers."""
    largest = max((num_bytes for _, _, num_bytes in pieces), default=0)
    random = numpy.random.default_rng(len(pieces)).integers(0, 1 << 16, largest // 2 + 1, dtype=numpy.uint16)
    block = memoryview(((random & 0x807F) | 0x3D00).tobytes())
    for path, offset, num_bytes in pieces:
        with open(path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), block[:num_bytes], offset)


def write_checkpoint(gale, folder, num_processes=16):
    """Into a folder that holds everything else; the number of bytes."""
    shards = shards_of(tensors_of(gale, folder))
    total = sum(t[3] for shard in shards for t in shard)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise SystemExit(f"{total / 1e9:.1f} GB do not fit {folder}: {free / 1e9:.1f} GB are free")
    pieces = write_headers(folder, shards)
    with multiprocessing.Pool(num_processes) as pool:
        pool.map(fill, [pieces[i::num_processes] for i in range(num_processes)])
    return total
