"""What fp32 means on a GPU, from the switches alone."""

import pytest
import torch

import gan_lab
from gan_lab.distributed import device as precision
from gan_lab.distributed.device import exact_fp32, pick_device, tf32, use_tf32
from gan_lab.distributed.launch import joined
from gan_lab.errors import UserError
from gan_lab.metrics.functional import manifold

SWITCHES = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)


class Gpu:
    type = "cuda"


@pytest.fixture(autouse=True)
def as_before():
    before = [switch.fp32_precision for switch in SWITCHES]
    yield
    precision._set(before)


@pytest.mark.parametrize("allowed, value", [(True, "tf32"), (False, "ieee")])
def test_tf32_only_where_it_is_allowed_and_never_in_a_backbone(monkeypatch, allowed, value):
    monkeypatch.setattr(torch, "autocast", lambda kind, enabled: torch.no_grad())
    use_tf32(allowed)
    assert [switch.fp32_precision for switch in SWITCHES] == [value] * 3
    with pytest.raises(KeyError), exact_fp32(Gpu()):
        assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 3
        raise KeyError
    assert [switch.fp32_precision for switch in SWITCHES] == [value] * 3


def test_tf32_for_a_block_ends_with_it_and_stops_at_a_backbone(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda kind, enabled: torch.no_grad())
    use_tf32(False)
    with tf32(True, Gpu()):
        assert [switch.fp32_precision for switch in SWITCHES] == ["tf32"] * 3
        with exact_fp32(Gpu()):
            assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 3
        assert [switch.fp32_precision for switch in SWITCHES] == ["tf32"] * 3
    assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 3
    with tf32(True, torch.device("cpu")):
        assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 3


@pytest.mark.parametrize("allowed", [True, False])
def test_torchs_older_switch_can_still_be_read(allowed):
    use_tf32(allowed)
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is allowed


def test_distances_between_features_are_never_tf32(monkeypatch):
    """`cdist` is a matrix product: with TF32 the neighbours of precision and recall would be others."""
    seen, true = [], torch.cdist

    def cdist(a, b):
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return true(a, b)

    monkeypatch.setattr(torch, "cdist", cdist)
    monkeypatch.setattr(torch, "autocast", lambda kind, enabled: torch.no_grad())
    monkeypatch.setattr(manifold, "exact_fp32", lambda device: exact_fp32(Gpu()))  # as on a GPU
    use_tf32(True)
    manifold.neighbour_distances(torch.rand(8, 4), 3)
    assert seen == ["ieee"]
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


@pytest.mark.parametrize("name", ["mps", "xpu", "xpu:1"])
def test_other_devices_are_taken_where_pytorch_sees_them(name, monkeypatch):
    """With a stand-in: no machine that has them has run this."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 0)
    with pytest.raises(UserError, match=f"trainer.device={name}: PyTorch sees no such device"):
        pick_device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)
    assert pick_device(name) == torch.device(name)
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(UserError, match="no such device"):
        pick_device("xpu:2")


def test_more_processes_than_gpus_are_refused_before_they_start(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = gan_lab.compose("trainer.devices=2", "trainer.device=cuda")
    with pytest.raises(UserError, match=r"trainer\.devices=2, but PyTorch sees 1 CUDA devices"), joined(config, print):
        pass
