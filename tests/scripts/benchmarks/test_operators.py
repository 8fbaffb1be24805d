"""What an update gives a GPU to do, counted without one: targets that must not slip."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import gan_lab

if not torch.__version__.startswith("2.14."):
    pytest.skip("the stand-in for a CUDA device is made of torch 2.14's internals", allow_module_level=True)
from scripts.benchmarks.fake_cuda import DEVICE, fake_cuda
from scripts.benchmarks.operators import counts, operators


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe, most", [
    ("sngan_resnet", 260), pytest.param("sngan_cnn", 190, marks=pytest.mark.long),
    pytest.param("wn_gan", 240, marks=pytest.mark.long),
])  # fmt: skip
def test_an_update_of_d_and_its_undo_take_few_operators(recipe, most):
    found = {part: sum(names.values()) for part, names in counts(recipe, "width=0.0625").items()}
    assert most // 2 < found["D update"] <= most  # above half: whole updates are counted
    assert found["undo"] <= 10 and found["EMA"] <= 2


class Kinds(TorchDispatchMode):
    """(name, dtype of the result) of the operators called inside."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        first = found[0] if isinstance(found, tuple) else found
        self.seen.add((func.overloadpacket.__name__, getattr(first, "dtype", None)))
        return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_bf16_the_trunk_of_a_residual_g_is_bf16(tiny_data, monkeypatch):
    """Convolutions, batch norms, upsampling and sums; the tanh at the end is fp32."""
    with fake_cuda(monkeypatch):
        words = (f"data_dir={tiny_data}", "metrics=none", "monitor=off", "width=0.0625", "trainer.precision=bf16")
        exp = gan_lab.build(gan_lab.compose("recipe=sngan_resnet", f"trainer.device={DEVICE}", *words))
        with exp.autocast(), Kinds() as kinds:
            exp.G(exp.G.sample_z(4, DEVICE))
    for name in ("convolution", "native_batch_norm", "upsample_nearest2d", "relu_", "add"):
        assert {kind for seen, kind in kinds.seen if seen == name} == {torch.bfloat16}, name
    assert ("tanh", torch.float32) in kinds.seen


def test_what_is_counted(monkeypatch):
    with fake_cuda(monkeypatch):
        a, b = torch.randn(4, 4, device=DEVICE), torch.randn(4, device=DEVICE)

        def work():
            (a @ b).exp_()  # a matrix-vector product and an exponential
            a.t().reshape(2, 8)[0].detach()  # a copy, because the transposed matrix lies otherwise; the rest are views
            a.to(DEVICE).float()  # nothing to do
            torch._foreach_add_([a, a], 1.0)  # one for all

        names = operators(work)
    assert names == {"mv": 1, "exp_": 1, "clone": 1, "_foreach_add_": 1}
