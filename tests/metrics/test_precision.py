"""What fp32 means on a GPU, from the switches alone."""

import pytest
import torch

from gan_lab.metrics.precision import exact_fp32, use_tf32

SWITCHES = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


class Gpu:
    type = "cuda"


@pytest.fixture(autouse=True)
def as_before():
    before = [switch.fp32_precision for switch in SWITCHES]
    yield
    for switch, value in zip(SWITCHES, before, strict=True):
        switch.fp32_precision = value


@pytest.mark.parametrize("allowed, value", [(True, "tf32"), (False, "ieee")])
def test_tf32_only_where_it_is_allowed_and_never_in_a_backbone(monkeypatch, allowed, value):
    monkeypatch.setattr(torch, "autocast", lambda kind, enabled: torch.no_grad())
    use_tf32(allowed)
    assert [switch.fp32_precision for switch in SWITCHES] == [value, value]
    with pytest.raises(KeyError), exact_fp32(Gpu()):
        assert [switch.fp32_precision for switch in SWITCHES] == ["ieee", "ieee"]
        raise KeyError
    assert [switch.fp32_precision for switch in SWITCHES] == [value, value]
