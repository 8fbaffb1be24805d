"""What an update gives a GPU to do, counted without one: targets that must not slip."""

import pytest
import torch

if not torch.__version__.startswith("2.14."):
    pytest.skip("the stand-in for a CUDA device is made of torch 2.14's internals", allow_module_level=True)
from scripts.benchmarks.fake_cuda import DEVICE, fake_cuda
from scripts.benchmarks.operators import counts, operators


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recipe, most", [("sngan_resnet", 320), ("sngan_cnn", 190), ("wn_gan", 240)])
def test_an_update_of_d_and_its_undo_take_few_operators(recipe, most):
    found = {part: sum(names.values()) for part, names in counts(recipe, "width=0.0625").items()}
    assert most // 2 < found["D update"] <= most  # above half: whole updates are counted
    assert found["undo"] <= 10 and found["EMA"] <= 2


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
