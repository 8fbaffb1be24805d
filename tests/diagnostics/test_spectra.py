"""Singular values against numpy's SVD of matrices laid out by hand; variances against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gan_lab.diagnostics.spectra import (
    exact_sigmas,
    fan_out,
    largest_singular_value,
    sigma_product,
    variance_references,
    variances,
)
from gan_lab.norms import EqualizedLR, SpectralNorm, WeightNorm, apply_weight_norm

LAYERS = {
    "linear": lambda: nn.Linear(24, 10),
    "column": lambda: nn.Linear(1, 9),
    "conv": lambda: nn.Conv2d(6, 16, 3),
    "tall conv": lambda: nn.Conv2d(2, 40, (2, 3)),
    "pointwise": lambda: nn.Conv2d(12, 5, 1),
    "deconv": lambda: nn.ConvTranspose2d(6, 16, 4, stride=2),
    "tall deconv": lambda: nn.ConvTranspose2d(30, 2, 2),
}


def matrices(layer):
    """The weight as (c_out, c_in kh kw) and (c_in, c_out kh kw), written out entry by entry."""
    w = layer.weight.detach().double().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        w = np.swapaxes(w, 0, 1)
    outs, ins = w.shape[:2]
    first = np.stack([w[o].reshape(-1) for o in range(outs)])
    second = np.stack([w[:, i].reshape(-1) for i in range(ins)])
    return first, second


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_exact_sigmas_are_the_largest_singular_values_of_both_matrices(kind, layout):
    layer = LAYERS[kind]()
    if layer.weight.dim() == 4:
        layer = layer.to(memory_format=layout)
    expected = [float(torch.linalg.svdvals(torch.from_numpy(m))[0]) for m in matrices(layer)]
    assert exact_sigmas(nn.Sequential(layer))["0"] == pytest.approx(tuple(expected), rel=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_exact_sigmas_are_of_the_weight_in_use(kind):
    net = apply_weight_norm(
        nn.Sequential(LAYERS[kind]().double()), SpectralNorm(bidirectional=True, exact=True, scale=1.4)
    )
    out, into = exact_sigmas(net)["0"]
    assert (out + into) / 2 == pytest.approx(1.4, rel=1e-9)
    raw = [np.linalg.norm(m, 2) for m in matrices(net[0])]
    assert (out, into) == pytest.approx(tuple(raw), rel=1e-9)


def test_degenerate_weights():
    assert largest_singular_value(torch.zeros(4, 3), 0) == 0.0
    assert math.isnan(largest_singular_value(torch.tensor([[1.0, float("inf")]]), 0))
    assert largest_singular_value(torch.tensor([[3e-30, 4e-30]]), 1) == pytest.approx(5e-30, rel=1e-6)


def test_the_product_takes_running_sigmas_where_there_are_and_exact_ones_elsewhere():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 4), nn.Linear(4, 1)).double()
    expected = math.prod(np.linalg.norm(matrices(plain[i])[0], 2) for i in (0, 2, 3))
    assert sigma_product(plain) == pytest.approx(expected, rel=1e-9)
    assert sigma_product(apply_weight_norm(plain, SpectralNorm(scale=3.0))) == pytest.approx(expected, rel=1e-6)
    with torch.no_grad():
        plain[0].parametrizations.weight.original.mul_(7.0)  # the vectors still fit, so u^T W v is seven times as much
    assert sigma_product(plain) == pytest.approx(7 * expected, rel=1e-6)
    mixed = nn.Sequential(apply_weight_norm(nn.Linear(5, 5), EqualizedLR()), nn.Linear(5, 1))
    exact = math.prod(np.linalg.norm(matrices(mixed[i])[0], 2) for i in (0, 1))
    assert sigma_product(mixed) == pytest.approx(exact, rel=1e-6)


SHAPES = {
    "square": (nn.Linear, 512, 512),
    "wide": (nn.Linear, 1024, 128),
    "tall": (nn.Linear, 64, 900),
    "conv": (nn.Conv2d, 64, 128, 3),
    "deconv": (nn.ConvTranspose2d, 128, 64, 4),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("std", [0.02, 1.7])
def test_variance_at_initialization(shape, std):
    """Sigma of a normal m x n matrix is about std (sqrt(m) + sqrt(n)): W/sigma has variance 1/(sqrt(m)+sqrt(n))^2."""
    kind, *sizes = SHAPES[shape]
    torch.manual_seed(1)
    layer = kind(*sizes)
    nn.init.normal_(layer.weight, std=std)
    m, n = matrices(layer)[0].shape
    net = apply_weight_norm(nn.Sequential(layer), SpectralNorm())
    found = variances(net)["0"]
    assert found == pytest.approx(1 / (math.sqrt(m) + math.sqrt(n)) ** 2, rel=0.05)
    assert found == pytest.approx(float(net[0].weight.detach().double().numpy().var()), rel=1e-9)


def test_variance_is_not_the_mean_square():
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    assert variances(nn.Sequential(layer)) == {"0": 1.0}


@pytest.mark.parametrize(
    ("layer", "sn", "bsn", "wn"),
    [
        (nn.Linear(20, 50), 1 / 50, 2 / 70, 1 / 20),
        (nn.Linear(50, 20), 1 / 50, 2 / 70, 1 / 50),
        (nn.Conv2d(3, 8, 5), 1 / 75, 2 / (75 + 200), 1 / 75),
        (nn.Conv2d(1, 64, 3), 1 / 64, 2 / (9 + 576), 1 / 9),
        (nn.ConvTranspose2d(3, 8, 5), 1 / 75, 2 / (75 + 200), 1 / 75),
        (nn.Conv2d(8, 12, 3, groups=4), 1 / 18, 2 / (18 + 27), 1 / 18),
        (nn.ConvTranspose2d(8, 12, 3, groups=4), 1 / 72, 2 / (18 + 27), 1 / 18),
    ],
)
def test_variance_references(layer, sn, bsn, wn):
    assert variance_references(layer) == pytest.approx({"sn": sn, "bsn": bsn, "wn": wn})


@pytest.mark.parametrize("kind", LAYERS)
def test_no_matrix_of_sigma_1_has_more_variance_than_the_sn_reference_and_an_orthogonal_one_has_just_that(kind):
    net = apply_weight_norm(nn.Sequential(LAYERS[kind]().double()), SpectralNorm(exact=True))
    reference = variance_references(net[0])["sn"]
    assert variances(net)["0"] < reference * (1 + 1e-12)
    layer = nn.Linear(64, 32).double()
    nn.init.orthogonal_(layer.weight)
    assert variances(nn.Sequential(layer))["0"] == pytest.approx(variance_references(layer)["sn"], rel=0.01)


def test_fan_out_is_what_pytorch_says_for_ungrouped_layers():
    for layer in (nn.Linear(7, 3), nn.Conv2d(5, 6, 3)):
        assert fan_out(layer) == nn.init._calculate_fan_in_and_fan_out(layer.weight)[1]


def test_the_references_hold_for_weight_normalized_filters():
    layer = apply_weight_norm(nn.Sequential(nn.Conv2d(16, 300, 3)), WeightNorm())
    layer[0].parametrizations.weight.original0.data.fill_(1.0)  # lengths of filters
    assert variances(layer)["0"] == pytest.approx(variance_references(layer[0])["wn"], rel=0.01)
