"""Runs of a few steps of small nets, what they leave behind, and ways to disturb them."""

import torch
from PIL import Image

import gan_lab
from gan_lab.data import shapes
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate

NETS = ("generator=dcgan", "discriminator=dcgan_plain", "penalty=r1r2_annealed", "optimizer=adam_annealed")
SMALL = (
    *NETS,
    "trainer.total_steps=6", "trainer.batch_size=8", "trainer.checkpoint_every_steps=2", "trainer.sample_every_steps=0",
    "trainer.log_every_steps=2", "trainer.device=cpu", "width=0.0625",
)  # fmt: skip
PLAIN = (*SMALL, "metrics=none", "monitor=off")
EVALUATED = (
    *SMALL, "trainer.total_steps=7", "trainer.checkpoint_every_steps=3", "trainer.eval_every_steps=3",
    "trainer.sample_every_steps=4", "metrics.num_samples=64", "metrics.num_real=64", "metrics.kid=false",
    "metrics.precision_recall=false",
)  # fmt: skip
CLOCK = ("wall_seconds", "images_per_second")

CONDITIONAL = (
    "generator=r3gan", "discriminator=r3gan", "width=0.03", "generator.conditional=true",
    "discriminator.condition=projection",
)  # fmt: skip


def fitting(settings, words):
    """The settings without NETS, if a recipe or another dataset brings its own."""
    own = any(word.startswith(("recipe=", "dataset=")) for word in words)
    return [setting for setting in settings if not (own and setting in NETS)]


def build(data, *words):
    """An experiment without metrics."""
    return gan_lab.build(gan_lab.compose(f"data_dir={data}", *fitting(PLAIN, words), *words))


def run(folder, data, *words):
    """Train 6 steps without metrics."""
    return gan_lab.train(gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *fitting(PLAIN, words), *words))


def evaluated_run(folder, data, *words):
    """Train 7 steps with everything that a run does: evaluations, diagnostics, grids."""
    return gan_lab.train(
        gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *fitting(EVALUATED, words), *words)
    )


def write_pictures(folder, n=12, seed=0):
    """Write n PNG files of 32 pixels, the same for the same seed; returns the folder."""
    folder.mkdir(parents=True)
    for i, pixels in enumerate(shapes.render(n, seed=seed)[0]):
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return folder


def state_of(folder):
    return Checkpoints(folder / "checkpoints", keep=9).latest()["state"]


def rows_of(folder, name):
    """Rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in read_rows(folder / name)]


def assert_same(a, b, where="state"):
    """Equal to the bit, but for the clock."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key != "wall_seconds":
                assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def broken(loss):
    """The loss times NaN."""
    return lambda *logits: loss(*logits) * float("nan")


def poison(monkeypatch, side, when):
    """Make the loss of D ("d") or G ("g") NaN for the updates of it, counted from 0, that `when` says."""
    name, loss = f"{side}_step", f"{side}_loss"
    true = getattr(accelerate, name)

    def poisoned(exp, real, y):
        kept = getattr(exp, loss)
        index = exp.step if side == "g" else exp.step * exp.config.trainer.n_dis + exp.substep
        if when(index):
            setattr(exp, loss, broken(kept))
        try:
            return true(exp, real, y)
        finally:
            setattr(exp, loss, kept)

    monkeypatch.setattr(accelerate, name, poisoned)


def ruin(monkeypatch, step, then=lambda: None):
    """Make a weight of G NaN in G's update of this step, and do something then."""
    true = accelerate.g_step

    def ruined(exp, real, y):
        values = true(exp, real, y)
        if exp.step == step:
            next(exp.G.parameters()).data.fill_(float("nan"))
            then()
        return values

    monkeypatch.setattr(accelerate, "g_step", ruined)
