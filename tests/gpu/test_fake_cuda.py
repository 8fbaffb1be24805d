"""Every recipe on a CUDA device that is not there: mixed devices, host reads and operators without CUDA are found."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

if not torch.__version__.startswith("2.14."):
    pytest.skip("the stand-in for a CUDA device is made of torch 2.14's internals", allow_module_level=True)
from torch._subclasses.fake_tensor import FakeTensorDeviceMismatchError  # type: ignore[attr-defined]

import gan_lab
from gan_lab.config.options import config_dir
from gan_lab.data import TrainingImages
from gan_lab.diagnostics.measure import Diagnostics
from gan_lab.training.accelerate import Updates, no_graph
from gan_lab.training.clock import Clock
from gan_lab.training.ema import update_ema
from gan_lab.training.evaluation import evaluate
from scripts.benchmarks.fake_cuda import DEVICE, HostTensor, WouldWait, fake_cuda
from tests.distributed.rank_steps import fitted

RECIPES = sorted(p.stem for p in (config_dir() / "recipe").glob("*.yaml"))
SHORT = ("wgan_gp", "wn_gan")  # of each optimizer one; the other recipes are long tests
PLAIN = "metrics.kid=false metrics.precision_recall=false"
VARIANTS = [
    *(pytest.param(f"{' '.join(fitted(name))} {PLAIN}", marks=[pytest.mark.long] * (name not in SHORT), id=name)
      for name in RECIPES),
    pytest.param(f"recipe=sngan_resnet generator.conditional=true discriminator.condition=projection {PLAIN}",
                 id="conditional resnet"),
    f"augment=apa loss.top_k=0.5 norm=wn {PLAIN}",
    pytest.param(f"augment=instance_noise {PLAIN}", marks=pytest.mark.long),
    "augment=ada penalty=lecam norm=bssn norm.learn_scale=layer",  # with all figures of the evaluator
    pytest.param(f"norm=wn_strict {PLAIN}", marks=pytest.mark.long),  # wn_gan has it
    f"norm=bssn norm.exact=true {PLAIN}",
    pytest.param(f"norm=bssn norm.differentiate_vectors=true {PLAIN}", marks=pytest.mark.long),
]  # fmt: skip


@pytest.fixture
def device(monkeypatch):
    with fake_cuda(monkeypatch) as device:
        yield device


def built(data, *words):
    small = ("width=0.0625", "trainer.batch_size=8", "trainer.n_dis=1", f"trainer.device={DEVICE}",
             "metrics.num_samples=8", "metrics.num_real=8", "metrics.batch_size=4", "monitor=full")  # fmt: skip
    return gan_lab.build(gan_lab.compose(f"data_dir={data}", *small, *words))


def train(exp, device, graph=True, diagnostics=None):
    """An eager step in fp32, then one in bf16, which a `graph` is to record; all penalties are due in both."""
    clock, updates, reals = Clock(exp), Updates(exp, "none"), TrainingImages(exp.dataset, exp.device, 0, 8)
    for precision in ("fp32", "bf16"):
        exp.config = replace(exp.config, trainer=replace(exp.config.trainer, precision=precision))
        exp.step = 0
        if diagnostics is not None:
            diagnostics.before_step(exp.step)
        for substep, side in enumerate("dg"):
            exp.substep = substep
            clock.tick()
            images, y = reals.batch(substep)
            with device.capture() if graph and precision == "bf16" else nullcontext():
                log = updates.run(side, images, y)
            assert all(value.device == DEVICE for value in log.values())
            due = {f"penalty/{name}" for name, p in exp.penalties.items() if p.side == side}
            assert due <= log.keys()
        exp.step, exp.substep = exp.step + 1, 0
        update_ema(exp.G_ema, exp.G, clock.ema_decay)
        if diagnostics is not None:
            diagnostics.after_step(exp.step)
    return images, y


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("words", VARIANTS)
def test_trains_measures_and_evaluates(tiny_data, device, words):
    exp = built(tiny_data, *words.split())
    assert (no_graph(exp, trusting=False) is None) == ("exact" not in words)
    diagnostics = Diagnostics(exp, "full", 1, 0)
    images, y = train(exp, device, "exact" not in words, diagnostics)
    for net in (exp.G, exp.D, exp.G_ema, exp.penalties):
        for name, tensor in net.state_dict().items():
            assert tensor.device == DEVICE, name
    assert all(p.grad.device == DEVICE for p in exp.G.parameters() if p.grad is not None)
    assert {"grad/input", "spread/features"} <= diagnostics.measure(2, images, y).keys()
    assert "fid_shapes" in evaluate(exp)


def planted(exp, plant):
    """Let D's loss be the sum of it and what `plant` makes of it."""
    true = exp.d_loss
    exp.d_loss = lambda real, fake: true(real, fake) + plant(true(real, fake))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("graph, plant, error", [
    (False, lambda loss: loss * torch.ones(1), FakeTensorDeviceMismatchError),
    (False, lambda loss: loss * torch.ones(()), None),  # CUDA takes scalars from the host, ...
    (True, lambda loss: loss * torch.ones(()), HostTensor),  # ... which a graph would freeze
    (False, lambda loss: float(loss), None),
    (True, lambda loss: float(loss), WouldWait),
    (True, lambda loss: loss * torch.tensor(1.0, device=DEVICE), HostTensor),  # copied from the host
    (True, lambda loss: loss * torch.ones((), device=DEVICE), None),
], ids=["CPU tensor", "CPU scalar", "CPU scalar in a graph", "host read", "host read in a graph", "copy in a graph",
        "on the device"])  # fmt: skip
def test_finds_what_is_planted(tiny_data, device, graph, plant, error):
    exp = built(tiny_data, "monitor=off")
    planted(exp, plant)
    if error is None:
        train(exp, device, graph)
        return
    with pytest.raises(error):
        train(exp, device, graph)


def test_the_autograd_engine_gives_gradients_on_the_device(device):
    p = torch.nn.Parameter(torch.randn(3, 2, device=DEVICE))
    (slope,) = torch.autograd.grad((p**2).sum(), p, create_graph=True)
    slope.square().sum().backward()
    assert p.grad.shape == (3, 2) and p.grad.device == DEVICE
