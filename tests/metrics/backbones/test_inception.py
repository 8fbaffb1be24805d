"""Our Inception against torch-fidelity's with random weights in every layer, and the refusals."""

from __future__ import annotations

import hashlib
import math
import socket
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from gan_lab.errors import UserError
from gan_lab.metrics.backbones import inception_weights
from gan_lab.metrics.backbones.inception import TAPS, keys_of, layers_of, resize
from gan_lab.metrics.backbones.inception_weights import InceptionExtractor, find_weights, read_weights

CPU = torch.device("cpu")
REFERENCE_TAPS = {"64": "64", "192": "192", "768": "768", "2048": "2048", "logits": "logits_unbiased"}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> FeatureExtractorInceptionV3:
    """torch-fidelity's network with random weights that keep the signal alive, and its file."""
    patch = pytest.MonkeyPatch()
    torch.manual_seed(0)
    patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: {})
    patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
    net = FeatureExtractorInceptionV3("random", list(REFERENCE_TAPS.values()))
    patch.undo()
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if name.endswith("conv.weight"):
            tensor.data.normal_(0, math.sqrt(2 / tensor[0].numel()))
        elif name.endswith(("bn.weight", "running_var")):
            tensor.data.uniform_(0.7, 1.4)
        elif name.endswith(("bn.bias", "running_mean")):
            tensor.data.normal_(0, 0.1)
    net.file = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(net.state_dict(), net.file)
    return net


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    small = torch.randint(0, 256, (3, 3, 9, 8), generator=torch.Generator().manual_seed(1))
    return small.repeat_interleave(4, 2).repeat_interleave(4, 3).to(torch.uint8)  # 36 x 32


@pytest.fixture(scope="module")
def expected(reference, images) -> dict[str, torch.Tensor]:
    return dict(zip(REFERENCE_TAPS, reference(images), strict=True))


def test_the_resize_of_an_evaluation_can_be_differentiated_later():
    """What it keeps is also used where images need a gradient, as in `gan-lab project`."""
    with torch.inference_mode():
        resize(torch.zeros(1, 3, 23, 23))
    x = torch.rand(1, 3, 23, 23, requires_grad=True)
    resize(x).sum().backward()
    assert x.grad is not None and float(x.grad.sum()) == pytest.approx(3 * 299**2, rel=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (7, 40), (299, 299), (400, 310), (1, 5)])
def test_the_resize_is_tensorflows(size):
    x = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    theirs = interpolate_bilinear_2d_like_tensorflow1x(x, (299, 299), align_corners=False)
    torch.testing.assert_close(resize(x), theirs, rtol=1e-5, atol=1e-3)  # of 255


@pytest.mark.slow
@pytest.mark.parametrize("tap", TAPS)
def test_features_equal_torch_fidelitys_at_every_tap(reference, images, expected, tap):
    extractor = InceptionExtractor(str(reference.file), tap, CPU)
    found = extractor(images)
    assert found["features"].dtype == torch.float32
    assert found["features"].shape == (3, extractor.num_features)
    error = (found["features"] - expected[tap]).norm() / expected[tap].norm()
    assert error < 2e-6
    assert ("logits" in found) == (tap in ("2048", "logits")) == (extractor.num_logits == 1008)
    if "logits" in found:
        assert (found["logits"] - expected["logits"]).norm() / expected["logits"].norm() < 2e-6


def test_features_of_floats_are_the_same_and_have_a_gradient(reference, images):
    extractor = InceptionExtractor(str(reference.file), "64", CPU)
    x = (images.float() / 127.5 - 1).requires_grad_()
    found = extractor.differentiable(x)
    torch.testing.assert_close(found.detach(), extractor(images)["features"], rtol=1e-4, atol=1e-5)
    (slope,) = torch.autograd.grad(found.sum(), x)
    step = 1e-2 * slope / slope.norm()
    rise = extractor.differentiable(x + step).sum() - extractor.differentiable(x - step).sum()
    torch.testing.assert_close(rise.detach(), 2 * (slope * step).sum(), rtol=0.05, atol=0)


def test_gray_is_repeated_and_other_channel_counts_are_refused(reference, images):
    extractor = InceptionExtractor(str(reference.file), "64", CPU)
    gray = images[:, :1]
    torch.testing.assert_close(extractor(gray), extractor(gray.repeat(1, 3, 1, 1)), rtol=0, atol=0)
    with pytest.raises(UserError, match="1 or 3 channels, these have 2"):
        extractor(images[:, :2])
    with pytest.raises(ValueError, match="uint8"):
        extractor(images.float())


def test_batches_do_not_change_the_features(reference, images, monkeypatch):
    extractor = InceptionExtractor(str(reference.file), "192", CPU)
    whole = extractor(images)["features"]
    monkeypatch.setattr(inception_weights, "CPU_CHUNK", 2)
    torch.testing.assert_close(extractor(images)["features"], whole, rtol=1e-5, atol=1e-6)


def written(folder: Path, state: dict, name: str = "w.pth") -> str:
    torch.save(state, folder / name)
    return str(folder / name)


@pytest.fixture
def state(reference) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in reference.state_dict().items()}


def test_all_keys_of_the_file_are_known(state):
    used = {key for tap in TAPS for layer in layers_of(tap) for key in keys_of(layer)}
    left = {key for key in state if key not in used and not key.endswith("num_batches_tracked")}
    assert left == {"fc.bias"} and used <= state.keys()


@pytest.mark.slow
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_end_early_are_refused_with_the_tap_that_works(state, tmp_path, bad):
    for key, value in state.items():
        if key.startswith("Mixed_7") and value.is_floating_point():
            value.fill_(bad)
    path = written(tmp_path, state)
    for tap in ("2048", "logits"):
        with pytest.raises(UserError, match="not finite from Mixed_7a.*metrics.feature=768 would work"):
            InceptionExtractor(path, tap, CPU)
    assert InceptionExtractor(path, "768", CPU).num_logits == 0


def test_weights_that_lack_layers_are_refused_with_the_tap_that_works(state, tmp_path):
    path = written(tmp_path, {k: v for k, v in state.items() if not k.startswith("Mixed")})
    with pytest.raises(UserError, match="lacks Mixed_5b.*metrics.feature=192 would work"):
        InceptionExtractor(path, "768", CPU)
    assert InceptionExtractor(path, "192", CPU).num_features == 192


def test_another_networks_file_is_refused_by_its_keys(tmp_path):
    path = written(tmp_path, torch.nn.Linear(3, 3).state_dict())
    with pytest.raises(UserError, match="lacks Conv2d_1a_3x3.conv.weight.*not the FID Inception"):
        InceptionExtractor(path, "64", CPU)


def test_tensors_of_the_wrong_shape_are_refused(state, tmp_path):
    state["Conv2d_2a_3x3.conv.weight"] = torch.zeros(32, 5, 3, 3)
    with pytest.raises(UserError, match="do not fit the FID Inception"):
        InceptionExtractor(written(tmp_path, state), "64", CPU)


def test_weights_whose_features_overflow_are_refused(state, tmp_path):
    state["Conv2d_1a_3x3.conv.weight"].fill_(1e38)
    with pytest.raises(UserError, match="non-finite features"):
        InceptionExtractor(written(tmp_path, state), "64", CPU)


def test_files_that_are_no_tensors_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("hello")
    torch.save({"a": print}, tmp_path / "code.pth")  # needs unpickling of a function, which is not allowed
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text.pth", "code.pth", "list.pth"):
        with pytest.raises(UserError, match=name):
            read_weights(tmp_path / name)
    with pytest.raises(UserError, match="metrics.weights=.*no such file"):
        find_weights(str(tmp_path / "absent.pth"))


def test_the_hash_in_a_name_is_checked(tmp_path):
    right = Path(written(tmp_path, {"a": torch.zeros(2)}))
    digest = hashlib.sha256(right.read_bytes()).hexdigest()
    named = right.rename(tmp_path / f"weights-{digest[:8]}.pth")
    assert read_weights(named)[1] == digest
    other = named.rename(tmp_path / "weights-6726825d.pth")
    with pytest.raises(UserError, match=f"sha256 begins {digest[:8]}, not 6726825d"):
        read_weights(other)


def test_where_weights_are_looked_for(tmp_path, monkeypatch):
    given, in_environment = tmp_path / "given.pth", tmp_path / "environment.pth"
    given.touch(), in_environment.touch()
    monkeypatch.setenv("GAN_LAB_INCEPTION", str(in_environment))
    assert find_weights(str(given)) == given
    assert find_weights(None) == in_environment
    monkeypatch.delenv("GAN_LAB_INCEPTION")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / inception_weights.FILE_NAME
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert find_weights(None) == cached


def test_without_a_network_one_sentence_says_what_works_and_what_to_put_where(tmp_path, monkeypatch):
    def unreachable(*arguments, **settings):
        assert socket.getdefaulttimeout() == inception_weights.TIMEOUT_SECONDS
        raise URLError("Name or service not known")

    monkeypatch.delenv("GAN_LAB_INCEPTION", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError) as caught:
        find_weights(None)
    message = str(caught.value)
    assert "weights-inception-2015-12-05-6726825d.pth" in message and "sha256 begins 6726825d" in message
    assert str(tmp_path / "hub" / "checkpoints") in message and "\n" not in message
    for works in ("metrics=none", "metrics=classifier metrics.weights=FILE", "GAN_LAB_INCEPTION=PATH"):
        assert works in message
    assert socket.getdefaulttimeout() is None
