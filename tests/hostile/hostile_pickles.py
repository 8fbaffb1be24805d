"""Pickles that call something, archives that unpack to more than they weigh, and bytes with flipped bits."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import torch


def saved(content: Any, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


class Payload:
    """Unpickling it would call `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads(canary: Path) -> list[Any]:
    """Objects whose unpickling would create the canary, each by another way."""
    code = f"open({str(canary)!r}, 'w')"
    return [
        Payload(os.system, f"touch '{canary}'"), Payload(eval, code), Payload(exec, code), Payload(Path.touch, canary),
        Payload(os.mkdir, str(canary)), Payload(open, str(canary), "w"), Payload(torch.save, 1, str(canary)),
        Payload(getattr, Path, "touch"), Payload(os.symlink, "/", str(canary)),
        Payload(pickle.loads, pickle.dumps(Payload(eval, code))),
    ]  # fmt: skip


def opcodes(canary: Path) -> list[bytes]:
    """Pickles written by hand: the forms of naming a function, and structures that cost more than they weigh."""
    argument = f"touch '{canary}'".encode()
    short = b"\x8c" + bytes([min(len(argument), 255)]) + argument[:255]
    laughs = (
        b"\x80\x02]"
        + b"".join(b"q" + bytes([i]) + b"0](h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(60))
        + b"."
    )
    return [
        b"cos\nsystem\n(S'" + argument + b"'\ntR.", b"(S'" + argument + b"'\nios\nsystem\n.",
        b"(cos\nsystem\nS'" + argument + b"'\no.", b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + short + b"\x85R.",
        b"\x80\x02ctorch.nn.modules.module\nModule\n)\x81}X\x01\x00\x00\x00ac__builtin__\neval\nsb.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00x\x85R.", b"\x82\x01.", b"\x80\x05\x97.",
        b"\x80\x02P1\n.", b"\x80\x02(" * 100 + b".", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02" + b")" + b"\x85" * 100_000 + b".", laughs, b"\x80\x02\x8b\xff\xff\xff\x7f1.",
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.", b"\x80\x04B\xff\xff\xff\x7f.", b"\x80\xff.",
        b"\x80\x02L" + b"9" * 20_000 + b"L\n.", b"\x80\x02h\x05.", b"\x80\x02r\xff\xff\xff\x7f.",
        b"\x80\x02K\x01r\xff\xff\xff\x7f.", b".", b"N.", b"0" * 50,
    ]  # fmt: skip


def archive(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as z:
        for name, data in records.items():
            z.writestr(name, data)
    return file.getvalue()


def records(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return {name: z.read(name) for name in z.namelist()}


@cache
def _zeros_16_mib() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)  # may be repeated


def bomb(names: list[str], gib: int, declared: int | None = None) -> bytes:
    """A ZIP whose members each unpack to `gib` GiB of zeros; the directory may declare another size."""
    data = _zeros_16_mib() * (64 * gib) + b"\x03\x00"
    size = min(gib * 2**30 if declared is None else declared, 2**32 - 2)
    body, directory = b"", b""
    for name in names:
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(data), size, len(name), 0)
        directory += (
            b"PK\x01\x02"
            + struct.pack("<H", 20)
            + fields
            + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
            + name.encode()
        )
        body += b"PK\x03\x04" + fields + name.encode() + data
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def flipped(rng: random.Random, data: bytes) -> bytes:
    """Bytes of a true file with bits flipped, runs overwritten, cut, doubled or dropped."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, length = rng.randrange(len(out) + 1), rng.choice([1, 2, 4, 8, 100])
        kind = rng.randrange(6)
        if kind < 3 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            out[at : at + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * len(out[at : at + length])
        elif kind == 4:
            out[at : at + length] = rng.randbytes(rng.randrange(length + 1))
        else:
            out[at:at] = out[at : at + length]
    return bytes(out[: rng.randrange(len(out) + 1)] if rng.random() < 0.2 else out)
