"""An update is that of the algorithm, and one that is not finite leaves no trace."""

import numpy as np
import pytest
import torch

from gan_lab.distributed.randomness import step_randomness
from gan_lab.training import optimize, step
from tests.training.short_runs import CONDITIONAL, broken, build


def everything(x):
    parts = [x.G, x.D, *x.penalties.values(), *([x.augment] if x.augment else [])]
    return {
        f"{i}.{k}": v.clone() for i, p in enumerate(parts) for k, v in p.state_dict().items() if hasattr(v, "clone")
    }


RECIPES = [
    ("norm=bssn", "penalty=lecam", "augment=ada"),
    ("recipe=stylegan2_ada", "penalty=[r1,path_length]"),
    (),
    CONDITIONAL,
]


@pytest.mark.parametrize("words", RECIPES, ids=["bssn lecam ada", "stylegan2 path length", "default", "conditional"])
def test_a_skipped_update_changes_nothing(tiny_data, words):
    x = build(tiny_data, *words)
    real, y = torch.rand(8, 3, 32, 32) * 2 - 1, torch.arange(8)
    for one, loss in ((step.d_step, "d_loss"), (step.g_step, "g_loss")):
        x.step = 0
        with step_randomness(0, 0, 0, x.device):
            log = one(x, real, y)
        assert float(next(v for k, v in log.items() if k.startswith("skipped/"))) == 0.0
        before, true = everything(x), getattr(x, loss)
        x.step = 4
        setattr(x, loss, broken(true))
        with step_randomness(0, 1, 0, x.device):
            log = one(x, real, y)
        setattr(x, loss, true)
        assert float(next(v for k, v in log.items() if k.startswith("skipped/"))) == 1.0
        after = everything(x)
        changed = [k for k in before if not torch.equal(before[k], after[k])]
        assert changed == []
        with step_randomness(0, 1, 0, x.device):
            one(x, real, y)
        assert any(not torch.equal(before[k], v) for k, v in everything(x).items())


@pytest.mark.parametrize("recipe", ["default", "sngan_resnet", "stylegan2"])
def test_updates_are_those_of_adam_whatever_the_order_in_memory(tiny_data, recipe):
    """arXiv:1412.6980, algorithm 1, in NumPy. Torch's fused step reads memory in order, whatever the strides."""
    x = build(tiny_data, *(() if recipe == "default" else (f"recipe={recipe}",)))
    moments = {}
    for t in range(1, 4):
        for one, net, optimizer in ((step.d_step, x.D, x.optimizer_d), (step.g_step, x.G, x.optimizer_g)):
            before = {name: p.detach().double().numpy().copy() for name, p in net.named_parameters()}
            one(x, torch.rand(8, 3, 32, 32) * 2 - 1, torch.arange(8))
            group = optimizer.param_groups[0]
            lr, (beta1, beta2), eps = float(group["lr"]), group["betas"], group["eps"]
            for name, p in net.named_parameters():
                if p.grad is None:
                    continue
                g = p.grad.double().numpy()
                m, v = moments.get((net, name), (np.zeros_like(g), np.zeros_like(g)))
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
                moments[net, name] = m, v
                moved = lr * m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
                found = before[name] - p.detach().double().numpy()
                rounding = 2e-7 * np.abs(before[name]).max()
                np.testing.assert_allclose(found, moved, rtol=1e-3, atol=1e-3 * lr + rounding, err_msg=name)


@pytest.mark.parametrize("far", [False, True], ids=["read at once", "never read"])
def test_a_net_without_buffers_skips_too(tiny_data, monkeypatch, far):
    """wn_gan has no buffers, of which torch cannot copy an empty list, and RMSprop has no switch of its own."""
    if far:
        monkeypatch.setattr(optimize, "reading_waits", lambda flag: True)
    x = build(tiny_data, "recipe=wn_gan")
    assert not x.buffers
    real = torch.rand(8, 3, 32, 32) * 2 - 1
    true = x.d_loss
    for skip in (True, False, True):  # the first one, which makes the optimizer's state, and a later one
        x.d_loss = broken(true) if skip else true
        before = everything(x) | {f"v{i}": s["square_avg"].clone() for i, s in enumerate(x.optimizer_d.state.values())}
        with step_randomness(0, 0, 0, x.device):
            log = step.d_step(x, real)
        assert float(log["skipped/d"]) == skip
        now = everything(x) | {f"v{i}": s["square_avg"] for i, s in enumerate(x.optimizer_d.state.values())}
        assert all(torch.equal(before[k], now[k]) for k in before) == skip
        assert all(torch.isfinite(v).all() for v in now.values())


def test_an_error_within_an_update_puts_the_buffers_back(tiny_data):
    """Running statistics and power iterations change in the forward; parameters change last."""
    x = build(tiny_data, "discriminator=dcgan", "norm=sn", "penalty=lecam", "loss=hinge")
    real = torch.rand(8, 3, 32, 32) * 2 - 1
    step.d_step(x, real)
    before, true = everything(x), x.D.logits

    def fails(features, y=None):
        raise RuntimeError("no such kernel")

    for one in (step.d_step, step.g_step):
        x.D.logits = fails
        with pytest.raises(RuntimeError, match="no such kernel"):
            one(x, real)
        assert all(torch.equal(before[k], v) for k, v in everything(x).items())
    x.D.logits = true
    step.d_step(x, real)
    assert any(not torch.equal(before[k], v) for k, v in everything(x).items() if "running" in k)
