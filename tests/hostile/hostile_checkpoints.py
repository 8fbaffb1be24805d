"""Hostile checkpoints: bytes, pickles, archives and contents that differ from those of a true small one."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.hostile.hostile_overrides import DANGEROUS
from tests.hostile.hostile_pickles import archive, bomb, flipped, opcodes, payloads, records, saved
from tests.hostile.hostile_sandbox import Case

JUNK: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**63, 2**70, 10**400, 1.5, float("nan"), float("inf"), "", "x", "../../x",
    "/etc/passwd", "\x1b[31m\n", "n" * 5000, "${oc.env:HOME}", "${generator}", "${", "???", b"x", [], {}, (), [1, 2],
    {"a": 1}, {1: 2}, {"_target_": "os.system"}, torch.zeros(0), torch.zeros(()), torch.full((3,), float("nan")),
    torch.zeros(2, dtype=torch.complex64), torch.ones(1).expand(2**40), torch.zeros(3, device="meta"),
    torch.eye(3).to_sparse(), torch.zeros(2, dtype=torch.int8), torch.zeros(1, requires_grad=True),
]  # fmt: skip


@cache
def true_content() -> dict[str, Any]:
    """What training writes, for a generator of a few thousand weights."""
    from gan_lab.config.check import check
    from gan_lab.config.compose import compose
    from gan_lab.nets.build import build_generator

    checked = check(compose("generator=sngan_cnn", "width=0.03", "generator.z_dim=4", "metrics=none"))
    facts = {"resolution": 8, "channels": 3, "num_classes": 4}
    G = build_generator(checked, facts)
    optimizer = torch.optim.Adam(G.parameters())
    optimizer.zero_grad()
    state = {"G": G.state_dict(), "G_ema": G.state_dict(), "D": nn.Linear(2, 1).state_dict(), "best": {}, "step": 5,
             "optimizer_g": optimizer.state_dict(), "optimizer_d": {}, "penalties": {}, "wall_seconds": 1.0,
             "augment": None, "log_sums": {}}  # fmt: skip
    config = {k: v for k, v in checked.tree().items() if k not in ("run_dir", "resume")}
    return {"state": state, "config": config, "dataset": {"name": "tiny", "sha256": "0" * 64, **facts}}


@cache
def true_file() -> bytes:
    """The bytes of a checkpoint of the present version, as the package writes it."""
    import tempfile

    from gan_lab.runs.checkpoint import Checkpoints

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), 2)
        checkpoints.save(true_content(), 5)
        return next(Path(folder).glob("*.pt")).read_bytes()


@cache
def _unpacked() -> dict[str, Any]:
    return torch.load(io.BytesIO(true_file()), weights_only=True)  # type: ignore[no-any-return]


def tampered(rng: random.Random, tree: Any) -> Any:
    """A copy with one or more nodes replaced, renamed or taken out, anywhere in it."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice([1, 1, 2, 4])):
        node = tree
        while isinstance(node, dict) and node:
            key = rng.choice(list(node))
            if isinstance(node[key], dict) and node[key] and rng.random() < 0.75:
                node = node[key]
                continue
            if rng.random() < 0.2:
                del node[key]
            else:
                node[key] = rng.choice(JUNK)
            break
    return tree


def _hostile_config(rng: random.Random, canary: Path) -> dict[str, Any]:
    """A checkpoint whose weights are true and whose configuration asks for something else to be called."""
    content = copy.deepcopy(_unpacked())
    config, node = content["config"], content["config"]["generator"]
    command = f"touch '{canary}'"
    evil: dict[str, Any] = rng.choice([
        {"_target_": "os.system", "command": command}, {"_target_": "builtins.eval", "_args_": [command]},
        {"_target_": "logging.FileHandler", "filename": str(canary)},
        {"_target_": "gan_lab.runs.files.append_row", "path": str(canary), "row": {}},
        {"_target_": "gan_lab.config.targets.import_module", "name": "this"},
        {"_target_": rng.choice(DANGEROUS), "_args_": [str(canary)]},
    ])  # fmt: skip
    how = rng.randrange(12)
    if how == 0:
        config["generator"] = evil
    elif how == 1:
        config["generator"] = evil
        config["extensions"] = [rng.choice(["os", "builtins", "pathlib", "", ".", "antigravity", "subprocess", "x"])]
        config["extensions"] += [evil["_target_"].rpartition(".")[0]]
    elif how == 2:
        node[rng.choice(list(node))] = evil
    elif how == 3:
        node[rng.choice([*node, "width"])] = rng.choice([[evil], [[evil]], {"x": [evil]}, (evil,)])
    elif how == 4:
        node["_args_"] = [evil]
    elif how == 5:
        config["norm"] = rng.choice(
            [evil, {"generator": rng.choice(["../x", "/etc/passwd", "sn\0", "../dataset/mnist", evil])}]
        )
    elif how == 6:
        node[rng.choice(list(node))] = rng.choice(JUNK)
    elif how == 7:
        node[rng.choice(["z_dim", "width"])] = rng.choice([10**5, 10**6, 10**9, 1e12, 2**62, 1e300])
    elif how == 8:
        content["dataset"][rng.choice(["resolution", "channels", "num_classes"])] = rng.choice(
            [4096, 8192, 2**20, 10**9, 0, -8]
        )
    elif how == 9:
        node["_target_"] = rng.choice([
            "gan_lab.nets.StyleGAN2Generator", "gan_lab.nets.SNGANDiscriminator", "torch.nn.Linear",
            "gan_lab.data.load", "gan_lab.training.train", "gan_lab.nets.ResNetGenerator",
        ])  # fmt: skip
    elif how == 10:
        config["trainer"][rng.choice(list(config["trainer"]))] = rng.choice(JUNK)
    else:
        node[rng.choice(["activation_norm", "_convert_", "_partial_", "_recursive_", "_mode_"])] = rng.choice(
            ["partial", *JUNK[:24]]
        )
    return content


def file_bytes(rng: random.Random, canary: Path) -> tuple[str, bytes]:
    """The bytes of one hostile checkpoint, and the kind of it in a word."""
    kind = rng.choice(["bits"] * 6 + ["content"] * 5 + ["config"] * 5 + ["payload"] * 3 + ["opcodes"] * 3
                      + ["record"] * 2 + ["random", "cut", "legacy", "sizes", "bomb", "true"])  # fmt: skip
    if kind == "bits":
        return kind, flipped(rng, true_file())
    if kind == "content":
        return kind, saved(tampered(rng, _unpacked()) if rng.random() < 0.9 else rng.choice(JUNK))
    if kind == "config":
        return kind, saved(_hostile_config(rng, canary))
    if kind == "payload":
        evil = rng.choice(payloads(canary))
        protocol = rng.randrange(6)
        inside = {**_unpacked(), "state": evil}
        return kind, rng.choice([pickle.dumps(evil, protocol), saved(evil), saved(evil, legacy=True), saved(inside)])
    if kind == "opcodes":
        code = rng.choice(opcodes(canary))
        code = flipped(rng, code) if rng.random() < 0.3 else code
        return kind, rng.choice([code, archive({"x/data.pkl": code, "x/version": b"3\n", "x/byteorder": b"little"})])
    if kind == "record":  # a true pickle beside other records, or the other way round
        parts = records(true_file())
        for name in rng.sample(list(parts), rng.randint(1, 3)):
            parts[name] = rng.choice([b"", b"\0" * 10, rng.randbytes(200), flipped(rng, parts[name])])
        if rng.random() < 0.3:
            parts["../../escaped"] = parts["/escaped"] = parts["x/constants.pkl"] = parts["x/code/x.py"] = b"import os"
        return kind, archive(parts, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    if kind == "cut":
        return kind, true_file()[: rng.randrange(len(true_file()))]
    if kind == "legacy":
        data = saved(_unpacked(), legacy=True)
        return kind, flipped(rng, data) if rng.random() < 0.7 else data
    if kind == "sizes":  # a tensor that declares more than the file holds
        huge = rng.choice([2**20, 2**31, 2**40, 2**60])
        parts = records(saved({"format_version": 1, "x": torch.zeros(7)}))
        name = next(n for n in parts if n.endswith("data.pkl"))
        long = b"\x8a\x08" + huge.to_bytes(8, "little")
        parts[name] = parts[name].replace(b"K\x07", long, rng.choice([1, 2, 3]))
        return kind, archive(parts)
    if kind == "bomb":
        names = rng.choice([["x/data.pkl"], ["x/data.pkl", "x/version", "x/data/0"], ["x/version"]])
        return kind, bomb(names, rng.choice([1, 3]), rng.choice([None, None, 100]))
    return kind, rng.randbytes(rng.choice([0, 1, 100, 10_000])) if kind == "random" else true_file()


def _index(rng: random.Random, name: str, data: bytes) -> bytes:
    """An index.json of a checkpoint folder, seldom a true one."""
    import hashlib

    entry: dict[str, Any] = {"step": 5, "sha256": hashlib.sha256(data).hexdigest()}
    index: dict[str, Any] = {"latest": name, "best": None, "files": {name: entry}}
    kind = rng.randrange(8)
    if kind == 1:
        return rng.choice(
            [b"", b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b"[" * 100_000, b"1e999", b"9" * 9000, b"{}", b"NaN"]
        )
    if kind == 2:
        other = rng.choice(
            ["../../../x.pt", "/dev/zero", "/etc/passwd", "", ".", "\0", "\x1b[31m\n", "n" * 300, "\ud800"]
        )
        index = {"latest": other, "best": other, "files": {other: entry}}
    if kind == 3:
        index[rng.choice(list(index))] = rng.choice([j for j in JUNK[:27] if not isinstance(j, bytes)])
    if kind == 4:
        index["files"][name] = rng.choice(
            [None, 5, [], "x", {}, {"step": "x"}, {"step": None, "sha256": 5}, {"step": [], "sha256": ""}]
        )
        index["files"]["step-00000006.pt"] = rng.choice([None, entry, {"step": 6, "sha256": "x"}])
    if kind == 5:
        return flipped(rng, json.dumps(index).encode())
    return json.dumps(index).encode()


def make(rng: random.Random, folder: Path) -> Case:
    """One file, or one folder of checkpoints with its index, and one of the functions that read it."""
    from gan_lab import load_generator
    from gan_lab.runs.checkpoint import Checkpoints, load_checkpoint

    name, (kind, data) = "step-00000005.pt", file_bytes(rng, folder / "canary")
    place = folder / "input" / "checkpoints"
    place.mkdir()
    path = place / name
    odd = rng.random()
    if odd < 0.01:
        os.mkfifo(path)
    elif odd < 0.02:
        path.symlink_to(rng.choice(["/dev/zero", str(path), "/nowhere", "/"]))
    else:
        path.write_bytes(data)
    if odd > 0.99:
        os.mkfifo(place / "index.json")
    else:
        (place / "index.json").write_bytes(_index(rng, name, data))
    which = rng.choice(["best", "latest", "5", "6", "-1", "\u0665", "x", "../x"]) if rng.random() < 0.3 else "best"
    how = rng.randrange(4)
    if how == 0:
        return Case(f"load_checkpoint of {kind}", lambda: load_checkpoint(path))
    if how == 1:
        return Case(f"Checkpoints.latest of {kind}", lambda: Checkpoints(place, 2).latest())
    if how == 2:
        return Case(f"load_generator of the file, {kind}", lambda: load_generator(path), _is_generator)
    return Case(
        f"load_generator of the folder, {kind}, {which!r}",
        lambda: load_generator(folder / "input", which),
        _is_generator,
    )


def _is_generator(made: Any) -> str | None:
    from gan_lab.nets import Generator

    return None if isinstance(made, Generator) else f"returned a {type(made).__name__}, no generator"
