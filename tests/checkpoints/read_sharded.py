"""Reads a sharded checkpoint by docs/formats/checkpoint-sharded.md alone: no code of Flywheel's.

usage: read_sharded.py FOLDER   prints {"step":..,"tensors":{name:{"type":..,"shape":..,"sha256":..}}}; any damage ends it.
"""
import hashlib
import json
import os
import struct
import sys

import h5py
import numpy
import xxhash

BLOCK = 1 << 20
NUMPY = {"f32": "<f4", "f64": "<f8", "f16": "<f2", "i8": "<i1", "i16": "<i2", "i32": "<i4", "i64": "<i8",
         "u8": "<u1", "u16": "<u2", "u32": "<u4", "u64": "<u8", "bf16": "<u2"}


def check(condition, what):
    if not condition:
        sys.exit("damaged: " + what)


def sealed(path):
    """{"body":...,"sha256":...}: the SHA-256 is of the body as compact JSON text with sorted keys."""
    document = json.load(open(path, encoding="utf-8"))
    text = json.dumps(document["body"], separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    check(hashlib.sha256(text.encode()).hexdigest() == document["sha256"], path)
    return document["body"]


def check_shard(path, entry, manifest, rank):
    raw = open(path, "rb").read()
    check(len(raw) == entry["bytes"], path + " has another size")
    head = raw[:entry["head_bytes"]]
    check(xxhash.xxh3_128(head).hexdigest() == entry["head_xxh3_128"], path + ": head")
    seal = struct.unpack("<8sIIQQQIIQQQQ16sQ", raw[:104])
    check(seal[0] == b"FWSHRD\r\n" and seal[1] == 1 and seal[2] == 4096 and seal[3] == len(raw), path + ": seal")
    check((seal[4], seal[5], seal[6], seal[7]) == (manifest["step"], manifest["attempt"], rank, len(manifest["shards"])), path + ": whose")
    check((seal[8], seal[9], seal[10], seal[11]) == (entry["head_bytes"], entry["table_offset"], entry["table_blocks"], BLOCK), path)
    check(seal[12] == xxhash.xxh3_128(head[4096:]).digest(), path + ": metadata")
    check(seal[13] == xxhash.xxh3_64(raw[:96]).intdigest() and not any(raw[104:4096]), path + ": seal's own hash")
    return raw


def check_blocks(raw, offset, size, first, table, name):
    for i, at in enumerate(range(0, size, BLOCK)):
        block = raw[offset + at:offset + min(at + BLOCK, size)]
        check(xxhash.xxh3_64(block).intdigest() == int(table[first + i]), name)


def main(folder):
    manifest = sealed(os.path.join(folder, "manifest.json"))
    check(manifest["format"] == "flywheel-sharded-checkpoint" and manifest["version"] == 1, "version")
    shards = []
    for rank, entry in enumerate(manifest["shards"]):
        path = os.path.join(folder, entry["file"])
        shards.append((check_shard(path, entry, manifest, rank), h5py.File(path, "r")))
    tensors = {}
    for t in manifest["tensors"]:
        content = b""
        for p in t["parts"]:
            raw, file = shards[p["shard"]]
            data = file["tensors"][t["name"]]
            size = (p["end"] - p["begin"]) * numpy.dtype(NUMPY[t["type"]]).itemsize
            check(data.chunks is None and data.id.get_offset() == p["offset"] and data.id.get_storage_size() == size, t["name"])
            check(int(data.attrs["begin"]) == p["begin"] and int(data.attrs["first_block"]) == p["first_block"], t["name"])
            check([int(n) for n in data.attrs["shape"]] == t["shape"] if t["shape"] else True, t["name"])
            check_blocks(raw, p["offset"], size, p["first_block"], file["blocks"], t["name"])
            piece = raw[p["offset"]:p["offset"] + size]
            values = data[()]
            if t["type"] == "bf16":  # h5py widens it; the values must be those of the bits
                bits = numpy.frombuffer(piece, "<u2").astype("<u4") << 16
                check(numpy.array_equal(numpy.asarray(values, "<f4").ravel(), bits.view("<f4"), equal_nan=True), t["name"])
            else:
                check(numpy.asarray(values).astype(NUMPY[t["type"]], copy=False).tobytes() == piece, t["name"])
            content += piece
        tensors[t["name"]] = {"type": t["type"], "shape": t["shape"], "sha256": hashlib.sha256(content).hexdigest()}
    json.dump({"step": manifest["step"], "attributes": manifest["attributes"], "tensors": tensors}, sys.stdout)


main(sys.argv[1])
