"""Suite `step`: a whole training step against the textbook's, and every recipe's step by its parts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import gan_lab
from gan_lab.builder import Experiment, build
from gan_lab.config.options import config_dir
from gan_lab.data import Dataset, TrainingImages
from gan_lab.data.store import pack
from gan_lab.distributed.device import use_tf32
from gan_lab.kernels.threads import cores
from gan_lab.nets.resnet import ResNetGenerator as OurResNetGenerator
from gan_lab.norms import advance_power_iteration, cached_weights, effective_weights
from gan_lab.schedules import value
from gan_lab.training.accelerate import EAGER_BEFORE_CAPTURE, Updates
from gan_lab.training.clock import Clock
from gan_lab.training.ema import update_ema
from gan_lab.training.step import d_step, g_step
from scripts.benchmarks.baselines import (
    CNNDiscriminator,
    CNNGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    TextbookTrainer,
    add_hooks,
    pil_batches,
)
from scripts.benchmarks.harness import Bench, Built, Parts, Row, Spread, Work, compare, warm_up
from scripts.benchmarks.memory import peak_memory

SIDE = 32
CPU_BATCH = 8  # of the split by parts, where a whole batch of the largest nets takes minutes


@lru_cache(maxsize=4)
def random_data(side: int = SIDE) -> Path:
    """A packed dataset of random images of ten classes in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="gan_lab_benchmark_")) / f"random{side}"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1024, side, side, 3), dtype=np.uint8)
    pack(folder, [(images, np.arange(1024) % 10)], name="random", class_names=[str(i) for i in range(10)])
    return folder


def built(words: Sequence[str]) -> Experiment:
    """The experiment that these overrides describe."""
    return build(gan_lab.compose(*words))


def words_of(bench: Bench, recipe: str, batch: int | None, precision: str = "fp32", side: int = SIDE) -> list[str]:
    """Overrides for a recipe on random images, with its own widths; `batch` None is the recipe's own."""
    words = [f"recipe={recipe}", "dataset=packed", f"dataset.path={random_data(side)}", "metrics=none",
             f"trainer.device={bench.device}", f"trainer.precision={precision}"]  # fmt: skip
    return words if batch is None else [*words, f"trainer.batch_size={batch}"]


def plain_state(net: nn.Module) -> dict[str, Tensor]:
    """The state dict of `net` as if no weight norm had been put on it: raw weights under their plain names."""
    mark = ".parametrizations.weight."
    state = {name.replace(f"{mark}original", ".weight"): v for name, v in net.state_dict().items()}
    return {name: v for name, v in state.items() if mark not in name}


def textbook_of(x: Experiment) -> TextbookTrainer:
    """The textbook's trainer of the same nets with the same weights, on the same device, in contiguous memory."""
    if isinstance(x.G, OurResNetGenerator):
        G: nn.Module = ResNetGenerator(x.G.norm.num_features, x.G.z_dim)  # type: ignore[arg-type]
        D: nn.Module = ResNetDiscriminator(x.D.linear.in_features)  # type: ignore[union-attr,arg-type]
    else:
        G = CNNGenerator(x.G.out.in_channels, x.G.z_dim)  # type: ignore[union-attr,arg-type]
        D = CNNDiscriminator(x.D.convs[0].out_channels)  # type: ignore[union-attr,index,arg-type]
    G.load_state_dict(plain_state(x.G))
    D.load_state_dict(plain_state(x.D))
    G, D = G.to(x.device), add_hooks(D).to(x.device)
    lr, betas = value(x.schedules.g.lr, 0.0), x.schedules.g.betas
    assert betas is not None
    found = (value(betas[0], 0.0), value(betas[1], 0.0))
    return TextbookTrainer(G, D, z_dim=x.G.z_dim, lr=lr, betas=found)


def pil_batches_of(dataset: Dataset, batch: int) -> Iterator[Tensor]:
    """Batches of its training images through PIL."""
    store, n = dataset.store, dataset.num_train
    return pil_batches(store.images[:n], store.labels[:n], batch)


class Ours:
    """The updates of an experiment as the loop takes them, on images that are given, at the start of its schedules."""

    def __init__(self, x: Experiment, mode: str = "none") -> None:
        self.x, self.clock, self.updates = x, Clock(x), Updates(x, mode)

    def update(self, side: str, real: Tensor) -> None:
        """One update of D ("d") or of G ("g")."""
        self.clock.tick()
        self.updates.run(side, real)

    def step(self, real: Tensor) -> None:
        """`n_dis` updates of D and one of G; the batch is the same for all, as for the textbook."""
        n_dis = self.x.config.trainer.n_dis
        for substep in range(n_dis + 1):
            self.x.substep = substep
            self.update("d" if substep < n_dis else "g", real)
        self.x.substep = 0


def updates(bench: Bench, recipe: str, variant: str, batch: int) -> Parts:
    """The updates of one step of a variant: n_dis of D, and one of G.

    `variant` is "textbook", "textbook, tf32", "textbook, bf16" (autocast around it), or "fp32", "tf32" or "bf16", these
    also with ", graphs" or ", compiled". fp32 is IEEE on both sides; bf16 leaves what stays in fp32 to TF32 on both. On
    a CPU each D update also fetches its batch, as data takes the same cores there; on a GPU, where workers fetch
    meanwhile, the batch is there already. RuntimeError where graphs are asked for and cannot be had.
    """
    parts = _updates(bench, recipe, variant, batch)
    if bench.device.type != "cuda":
        return parts
    allowed = not {"fp32", "textbook"} & {variant}

    def with_tf32(work: Work) -> Work:
        def switched() -> None:
            use_tf32(allowed)
            work()

        return switched

    return [(often, with_tf32(work)) for often, work in parts]


def _updates(bench: Bench, recipe: str, variant: str, batch: int) -> Parts:
    torch.manual_seed(0)
    words = variant.split(", ")
    x = built(words_of(bench, recipe, batch, "bf16" if words[0] == "bf16" else "fp32"))
    n_dis = x.config.trainer.n_dis
    on_cpu = bench.device.type == "cpu"
    if words[0] == "textbook":
        trainer, low, theirs = textbook_of(x), "bf16" in words, pil_batches_of(x.dataset, batch)
        there = next(theirs).to(bench.device)

        def under_autocast(step: Callable[[Tensor], Tensor], fetch: bool) -> Work:
            def work() -> None:
                real = next(theirs) if fetch else there
                with torch.autocast(bench.device.type, torch.bfloat16, enabled=low):
                    step(real)

            return work

        return [(n_dis, under_autocast(trainer.d_step, on_cpu)), (1, under_autocast(trainer.g_step, False))]
    ours = Ours(x, {"graphs": "graph", "compiled": "compile"}.get(words[-1], "none"))
    reals, draws = TrainingImages(x.dataset, x.device, 0, batch), count()
    there = reals.batch(0)[0]
    for _ in range(EAGER_BEFORE_CAPTURE + 1 if ours.updates.graphed else 0):
        ours.update("d", there)
        ours.update("g", there)
    graphs = ours.updates.graphs.values()
    if "graphs" in words and not (graphs and all(graph.graph is not None for graph in graphs)):
        raise RuntimeError(f"{recipe}, {variant}: its updates are not graphs, so there is nothing to measure")
    fetched: Callable[[], Tensor] = (lambda: reals.batch(next(draws))[0]) if on_cpu else (lambda: there)
    return [(n_dis, lambda: ours.update("d", fetched())), (1, lambda: ours.update("g", there))]


def both_updates(bench: Bench, recipe: str, variant: str, batch: int) -> Work:
    """One update of D and one of G, whose peak memory is that of a whole step."""
    parts = updates(bench, recipe, variant, batch)
    return lambda: [work() for _, work in parts]


def against_textbook(
    bench: Bench,
    recipe: str,
    title: str,
    batch: int,
    variants: Sequence[str],
    goals: dict[str, float],
    renewed: int = 2,
) -> list[Row]:
    """Rows of the variants of one recipe, the first being the textbook's; peak memory on one thread or a GPU."""
    random_data()  # once for all
    works = {v: Built(partial(updates, bench, recipe, v, batch)) for v in variants}
    n_dis = gan_lab.compose(f"recipe={recipe}").trainer.n_dis
    plural = "update" if n_dis == 1 else "updates"
    case = f"{title}, batch {batch}, {n_dis} D {plural} + 1 G update"
    many = bench.device.type == "cpu" and bench.threads > 1
    case += f", {bench.threads} threads" if many else ""
    calls = 10 if bench.device.type == "cuda" else 1  # between two waits, so that launches overlap as in training
    rounds = bench.rounds(2 * renewed)
    rows = compare(bench, case, works, rounds=rounds, calls=calls, warm=3, apart=True, renewed=renewed)
    for row, variant in zip(rows, variants, strict=True):
        if not many:
            maker = "scripts.benchmarks.step:both_updates"
            row.peak_bytes = peak_memory(bench, maker, recipe=recipe, variant=variant, batch=batch)
        if variant in goals:
            row.goal = ("faster", "at least", goals[variant])
    return rows


def parts_of(bench: Bench, recipe: str, *settings: str) -> tuple[int, dict[str, tuple[Work, int]]]:
    """Batch size, and part -> (work, how often a step does it). Norm and optimizer are also within D and G."""
    own = gan_lab.compose(f"recipe={recipe}").trainer.batch_size
    batch = min(own, CPU_BATCH) if bench.device.type == "cpu" else own
    x = built([*words_of(bench, recipe, batch), *settings])
    reals = TrainingImages(x.dataset, x.device, 0, batch)
    (real, _), n_dis = reals.batch(0), x.config.trainer.n_dis

    def at(index: int, update: Callable[[Experiment, Tensor], object]) -> Work:
        """Lazy penalties are active at the first update of a side, which has index 0, and not at the second."""

        def work() -> None:
            x.step, x.substep = (0, index) if update is d_step else (index, 0)
            update(x, real)

        return work

    at(1, d_step)()  # gradients for the optimizers to work on
    at(1, g_step)()
    probes = {name: torch.randn_like(w) for name, w in effective_weights(x.D).items()}

    def norm() -> None:
        with cached_weights(x.D):
            weights = {n: w for n, w in effective_weights(x.D).items() if w.grad_fn is not None}
            torch.autograd.backward(list(weights.values()), [probes[n] for n in weights])
        advance_power_iteration(x.D)

    draw = iter(range(10**9))
    parts: dict[str, tuple[Work, int]] = {
        "D": (at(1, d_step), n_dis),
        "G": (at(1, g_step), 1),
        "optimizer D": (x.optimizer_d.step, n_dis),
        "optimizer G": (x.optimizer_g.step, 1),
        "data": (lambda: reals.batch(next(draw)), n_dis),
        "EMA": (lambda: update_ema(x.G_ema, x.G, 0.999), 1),
    }
    if any(w.grad_fn is not None for w in effective_weights(x.D).values()):
        parts["norm"] = (norm, n_dis)
    if any(p.interval > 1 for p in x.penalties.values()):  # type: ignore[operator]
        parts["D, all penalties due"] = (at(0, d_step), 0)
        parts["G, all penalties due"] = (at(0, g_step), 0)
    return batch, parts


def split(bench: Bench, recipe: str, *settings: str) -> list[Row]:
    """One row per part of a recipe's step; "share" is its part of D + G + data + EMA."""
    batch, parts = parts_of(bench, recipe, *settings)
    times: dict[str, list[float]] = {name: [] for name in parts}
    for work, _ in parts.values():
        warm_up(work, 1)
    for _ in range(bench.rounds(3)):
        for name, (work, _) in parts.items():
            times[name].append(bench.seconds(work))
    whole = sum(Spread.of(times[n]).median * parts[n][1] for n in ("D", "G", "data", "EMA"))
    rows = []
    for name, values in times.items():
        spread, often = Spread.of(values), parts[name][1]
        facts = {"per step": often, "share": round(spread.median * often / whole, 4)} if often else {}
        rows.append(Row(f"{recipe}, batch {batch}", name, spread, facts=facts))
    return rows


def suite(bench: Bench) -> list[Row]:
    resnet, cnn = ("sngan_resnet", "SNGAN ResNet 32"), ("sngan_cnn", "SNGAN CNN 32")
    if bench.device.type == "cpu":
        variants, goals = ("textbook", "fp32", "fp32, compiled", "bf16"), {"fp32": 1.7, "bf16": 3.3}
        rows = against_textbook(bench, *resnet, 64, variants, goals)
        rows += against_textbook(bench, *cnn, 64, variants, {"fp32": 1.3}, renewed=6)
        if bench.threads == 1 < cores():  # by wall clock, as users have it
            every = replace(bench, threads=cores())
            rows += against_textbook(every, *resnet, 64, ("textbook", "fp32", "bf16"), goals)
            rows += against_textbook(every, *cnn, 64, ("textbook", "fp32", "bf16"), {"fp32": 1.3}, renewed=6)
        return rows
    plain, low = ("textbook", "fp32", "fp32, graphs"), ("textbook, bf16", "bf16", "bf16, graphs")
    rows = []
    for net in (resnet, cnn):
        rows += against_textbook(bench, *net, 64, plain, {})
        rows += against_textbook(bench, *net, 64, ("textbook, tf32", "tf32", "tf32, graphs"), {})
        rows += against_textbook(bench, *net, 64, low, {"bf16, graphs": 3.0} if net is resnet else {})
    return rows + against_textbook(bench, *resnet, 256, low, {"bf16, graphs": 2.0})


def recipes_suite(bench: Bench) -> list[Row]:
    """Suite `recipes`: every recipe's step by its parts."""
    rows = []
    for path in sorted((config_dir() / "recipe").glob("*.yaml")):
        rows += split(bench, path.stem)
    return rows
