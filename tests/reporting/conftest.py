"""Run directories made up for the report: the files of a training without the training."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from gan_lab.metrics.protocol import protocol_hash

PROTOCOL = {
    "backbone": "classifier shapes", "tap": "penultimate", "weights_sha256": "ab" * 32, "resize": "none",
    "num_real": 5000, "real_split": "train", "dataset": "shapes", "dataset_sha256": "cd" * 32, "resolution": 32,
    "num_fake": 3000, "num_fake_fid": 3000, "is_splits": 10, "truncation": 1.0, "weights_of_G": "ema", "seed": 0,
}  # fmt: skip
NORMS = {
    "none": {"generator": "none"},
    **{
        name: {"_target_": "gan_lab.norms.SpectralNorm", "bidirectional": both, "scale": scale, "power_iterations": 1,
               "exact": False, "differentiate_vectors": False, "learn_scale": "none", "generator": "none"}
        for name, both, scale in [("sn", False, 1.0), ("ssn", False, 1.4), ("bsn", True, 1.0), ("bssn", True, 1.4)]
    },
}  # fmt: skip
LAYERS = ("conv1", "conv2", "conv3", "linear")


def make_config(norm="sn", seed=0, **settings):
    """A small configuration with the keys that matter here."""
    return {
        "seed": seed, "name": None, "data_dir": f"/data/{seed}", "width": 1.0, "recipe": None,
        "dataset": {"_target_": "gan_lab.data.shapes_dataset", "name": "shapes"},
        "generator": {"_target_": "gan_lab.nets.DCGANGenerator", "z_dim": 100},
        "norm": dict(NORMS[norm]), "penalty": {}, "augment": None,
        "optimizer": {"d": {"lr": 2e-4, "betas": [0.5, 0.999]}},
        "trainer": {"total_steps": 3000, "batch_size": 64, "device": "auto", "threads": seed}, **settings,
    }  # fmt: skip


def evaluations(rng, floor, steps, protocol_id):
    """Rows of metrics.jsonl: a figure that falls from 51 to its floor, and its company."""
    rows, offset = [], rng.normal(0, 0.08 * floor)
    for step in steps:
        left = np.exp(-step / 500)
        fid = floor + offset + (51 - floor) * left + rng.normal(0, 0.02 * floor)
        rows.append({
            "step": int(step), "images_seen": int(step) * 64, "wall_seconds": round(step * 0.05, 3),
            "fid_shapes": fid, "is_shapes": 11 - 0.3 * floor - 9 * left + rng.normal(0, 0.1), "is_shapes_std": 0.1,
            "kid_shapes": fid / 400 + rng.normal(0, 2e-4), "kid_shapes_std": 1e-3,
            "precision_shapes": 0.9 - 0.01 * fid, "recall_shapes": max(0.6 - 0.012 * fid, 0.0),
            "density_shapes": 0.95 - 0.012 * fid, "coverage_shapes": max(0.9 - 0.017 * fid, 0.0),
            "modes_shapes": float(min(16, round(16 - 0.3 * floor - 13 * left))),
            "modes_kl_shapes": 0.01 * fid + 0.01, "protocol": protocol_id,
        })  # fmt: skip
    return rows


def scalars(rng, floor, steps, norm):
    """Rows of train.jsonl, every other one with diagnostics."""
    rows = []
    scale = NORMS[norm].get("scale", 3.0)
    for k, step in enumerate(steps):
        t = step / 1000
        row = {
            "step": int(step), "images_seen": int(step) * 64, "wall_seconds": round(step * 0.05, 3),
            "loss/d": 1.9 - 0.3 * np.exp(-t) + rng.normal(0, 0.05), "loss/g": 0.2 + 0.1 * t + rng.normal(0, 0.05),
            "logits/real": 0.4 * scale + rng.normal(0, 0.05), "logits/fake": -0.3 * scale + rng.normal(0, 0.05),
            "logits/real_sign": 0.3 + rng.normal(0, 0.02), "grad_norm/d": 0.5 * scale * np.exp(rng.normal(0, 0.2)),
            "grad_norm/g": 0.2 * scale * np.exp(rng.normal(0, 0.2)), "skipped_updates": 0,
            "images_per_second": 1300 - 60 * scale + rng.normal(0, 20), "lr/d": 2e-4, "lr/g": 2e-4,
        }  # fmt: skip
        if norm != "none":
            row |= {f"sigma/{layer}": 1 + 0.4 * np.exp(-t) + 0.1 * i for i, layer in enumerate(LAYERS)}
        if k % 2:
            row |= {"grad/effective/joint": 0.8 * scale + 0.1 * rng.normal(), "grad/bound": 24.0 * scale,
                    "grad/raw/joint": 0.4 * scale, "sigma_product": scale**4 * (1 + 0.02 * rng.normal()),
                    "logits/held_out": 0.3 * scale - 0.05 * t, "logits/overfit_gap": 0.05 * t}  # fmt: skip
            for i, layer in enumerate(LAYERS):
                row |= {f"variance/{layer}": 1e-3 * scale / (i + 1), f"variance_sn/{layer}": 2e-3 / (i + 1),
                        f"variance_bsn/{layer}": 3e-3 / (i + 1), f"grad/effective/{layer}": 0.4 * scale}  # fmt: skip
        rows.append({key: float(v) if isinstance(v, np.floating) else v for key, v in row.items()})
    return rows


def grid(path, seed, hue, images=64, size=32):
    """A PNG of coloured blobs, laid out as torchvision lays out a grid."""
    rng = np.random.default_rng(seed)
    side, pad = int(images**0.5), 2
    canvas = np.zeros((side * (size + pad) + pad,) * 2 + (3,), np.uint8)
    yy, xx = np.mgrid[:size, :size]
    for k in range(images):
        cx, cy, r = rng.uniform(10, 22, 2).tolist() + [rng.uniform(5, 10)]
        color = np.clip(rng.integers(40, 256, 3) * hue, 0, 255)
        tile = np.where(((xx - cx) ** 2 + (yy - cy) ** 2 < r * r)[..., None], color, 20)
        y, x = pad + (k // side) * (size + pad), pad + (k % side) * (size + pad)
        canvas[y : y + size, x : x + size] = np.clip(tile + rng.normal(0, 6, tile.shape), 0, 255)
    Image.fromarray(canvas).save(path)


def write_run(
    path, config, *, status="finished", floor=4.0, last=3000, every=250, log_every=50, protocol=PROTOCOL, figures=None,
    overrides=None, events=(), samples=False, device="Some CPU", norm="sn",
):  # fmt: skip
    """One run directory. `figures`: {step: fid_shapes} instead of made-up evaluations; `status` None: no summary."""
    path.mkdir(parents=True)
    seed = config["seed"]
    rng = np.random.default_rng([seed, abs(hash(norm)) % 1000 if norm not in NORMS else list(NORMS).index(norm)])
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    hashed = protocol_hash(protocol) if protocol else None
    if figures is None:
        rows = evaluations(rng, floor, range(0, last + 1, every), hashed) if protocol else []
    else:
        rows = [{"step": s, "images_seen": s * 64, "wall_seconds": s * 0.05, "fid_shapes": v, "protocol": hashed}
                for s, v in figures.items()]  # fmt: skip
    if events and rows:
        rows[-1]["events"] = list(events)
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    train = scalars(rng, floor, range(log_every, last + 1, log_every), norm)
    (path / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in train))
    if protocol:
        (path / "protocol.json").write_text(json.dumps(protocol))
    environment = {"gan_lab": "0.1.0", "git_commit": "0123456789abcdef", "versions": {"torch": "2.9.0"}, "threads": 1,
                   "device": device, "started": f"2025-11-21T12:0{seed % 10}:00+00:00"}  # fmt: skip
    (path / "environment.json").write_text(json.dumps(environment))
    if overrides is not None:
        (path / ".hydra").mkdir()
        (path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    if samples:
        (path / "samples").mkdir()
        grid(path / "samples" / "real-00000000.png", 999, np.ones(3))
        grid(path / "samples" / "samples-00000000.png", seed, np.full(3, 0.3))
        grid(path / "samples" / f"samples-{last:08d}.png", seed, np.array([1, 0.6 + 0.1 * scale_of(norm), 0.8]))
    if status is not None:
        best = min(rows, key=lambda r: r["fid_shapes"]) if rows else None
        summary = {
            "status": status, "step": last, "images_seen": last * 64, "wall_seconds": last * 0.05,
            "images_per_second": 1300.0 - 10 * seed, "final": rows[-1] if rows else None, "protocol": hashed,
            "best": best and {"metric": "fid_shapes", "value": best["fid_shapes"], "step": best["step"],
                              "evaluations": len(rows)},
            "events": list(events), "skipped_updates": 0,
        }  # fmt: skip
        (path / "summary.json").write_text(json.dumps(summary))
    return path


def write_figures(folder, recipes, **how):
    """recipes: norm -> one {step: fid_shapes} for each seed."""
    for norm, seeds in recipes.items():
        for seed, figures in enumerate(seeds):
            write_run(folder / f"norm={norm},seed={seed}", make_config(norm, seed), figures=figures,
                      overrides=[f"norm={norm}"], last=100, **how)  # fmt: skip


def scale_of(norm):
    return NORMS.get(norm, {}).get("scale", 3.0)


def write_sweep(folder, *, norms=tuple(NORMS), seeds=(1, 2, 3), samples=True, last=3000, **settings):
    """norm x seed with one run that diverged, and one with an event."""
    floors = {"none": 9.0, "sn": 6.0, "ssn": 4.6, "bsn": 5.4, "bssn": 3.4}
    event = {"step": 2100, "kind": "spread", "severity": "warning", "value": 0.41, "threshold": 0.5,
             "message": "the spread of the samples fell to 0.41 of its highest"}  # fmt: skip
    for norm in norms:
        for seed in seeds:
            diverged = norm == "none" and seed == seeds[-1]
            write_run(
                folder / f"norm={norm},seed={seed}", make_config(norm, seed), norm=norm, floor=floors[norm],
                overrides=[f"norm={norm}", f"seed={seed}", "loss=hinge"], samples=samples,
                status="diverged" if diverged else "finished", last=1800 if diverged else last,
                events=[event] if norm == "none" and seed == seeds[0] else (), **settings,
            )  # fmt: skip
    (folder / "multirun.yaml").write_text("hydra: {}\n")
    return folder


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """Five recipes of three seeds; one run diverged. Only to be read."""
    return write_sweep(tmp_path_factory.mktemp("runs") / "sweep")


@pytest.fixture
def fabricate():
    """The functions of this file, which tests cannot import."""
    return SimpleNamespace(
        run=write_run, figures=write_figures, sweep=write_sweep, config=make_config, protocol=PROTOCOL, norms=NORMS
    )
