"""The small classifier: its file, its training, and what it is refused for."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from gan_lab.data.shapes import render
from gan_lab.errors import UserError
from gan_lab.metrics.backbones import classifier_training
from gan_lab.metrics.backbones.classifier import (
    SHIPPED,
    Architecture,
    Classifier,
    ClassifierExtractor,
    load_classifier,
    save_classifier,
)
from gan_lab.metrics.backbones.classifier_training import _shifted, train_classifier

CPU = torch.device("cpu")


def extractor(path: Path, resolution=32, channels=3, num_classes=16) -> ClassifierExtractor:
    return ClassifierExtractor(path, resolution=resolution, channels=channels, num_classes=num_classes, device=CPU)


def saved(folder: Path, architecture: Architecture, **facts) -> Path:
    torch.manual_seed(0)
    path = folder / "net.safetensors"
    save_classifier(Classifier(architecture), path, {"name": "toy", **facts})
    return path


def test_the_shipped_net_is_small_and_as_accurate_as_it_says():
    path = SHIPPED / "shapes.safetensors"
    assert path.stat().st_size < 1e6
    net, facts = load_classifier(path)
    assert facts["name"] == "shapes" and len(facts["classes"]) == 16 and net.head.in_features == 64
    assert facts["accuracy"] > 0.98 and len(facts["dataset_sha256"]) == 64
    images, labels = render(1000, seed=987_654)  # a seed that neither training nor its test used
    logits = extractor(path)(torch.from_numpy(images).permute(0, 3, 1, 2))["logits"]
    assert float((logits.argmax(1) == torch.from_numpy(labels)).double().mean()) > 0.98


@pytest.mark.parametrize(("resolution", "features"), [(8, 8), (16, 16), (28, 32), (32, 32), (96, 32)])
def test_the_features_feed_the_logits(tmp_path, resolution, features):
    path = saved(tmp_path, Architecture(resolution, 3, 5, width=8))
    taps = extractor(path, resolution)(torch.zeros(2, 3, resolution, resolution, dtype=torch.uint8))
    net, _ = load_classifier(path)
    assert taps["features"].shape == (2, features) and taps["logits"].shape == (2, 5)
    torch.testing.assert_close(net.head(taps["features"]), taps["logits"])


def test_saving_keeps_weights_and_facts(tmp_path):
    torch.manual_seed(0)
    net = Classifier(Architecture(16, 1, 3, width=4))
    save_classifier(net, tmp_path / "deep" / "x.safetensors", {"name": "n", "accuracy": 0.5})
    again, facts = load_classifier(tmp_path / "deep" / "x.safetensors")
    assert facts == {"name": "n", "accuracy": 0.5} and again.architecture == net.architecture
    assert not again.training
    for key, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def test_stacked_digits_are_judged_channel_by_channel(tmp_path):
    path = saved(tmp_path, Architecture(16, 1, 10, width=4))
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    stacked = extractor(path, 16, channels=3, num_classes=1000)
    single = extractor(path, 16, channels=1, num_classes=10)
    taps = stacked(images)
    assert stacked.name == "stacked_toy" and stacked.num_logits == 1000 and stacked.num_features == 24
    each = [single(images[:, i : i + 1]) for i in range(3)]
    torch.testing.assert_close(taps["features"], torch.cat([e["features"] for e in each], dim=1))
    p = [F.softmax(e["logits"], dim=1) for e in each]
    joint = F.softmax(taps["logits"], dim=1)
    assert joint[1, 372] == pytest.approx(float(p[0][1, 3] * p[1][1, 7] * p[2][1, 2]), rel=1e-4)
    with pytest.raises(UserError, match="gray images cannot judge three-channel ones"):
        extractor(path, 16, channels=3, num_classes=10)


def test_gray_images_are_repeated_for_a_colour_net(tmp_path):
    net = extractor(saved(tmp_path, Architecture(16, 3, 4, width=4)), 16)
    gray = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(net(gray), net(gray.repeat(1, 3, 1, 1)))


def test_images_of_another_size_or_kind_are_refused(tmp_path):
    path = saved(tmp_path, Architecture(16, 1, 4, width=4))
    with pytest.raises(UserError, match="reads 16 px, the dataset has 32 px"):
        extractor(path, 32, channels=1)
    net = extractor(path, 16, channels=1)
    with pytest.raises(UserError, match="reads 16 x 16 px, not 16 x 24"):
        net(torch.zeros(1, 1, 16, 24, dtype=torch.uint8))
    with pytest.raises(UserError, match="reads 1 channels, these images have 3"):
        net(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_files_that_are_no_classifier_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such file; gan-lab train-classifier"):
        load_classifier(tmp_path / "absent.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UserError, match="cannot be read as a classifier"):
        load_classifier(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UserError, match="not a classifier written by"):
        load_classifier(tmp_path / "other")
    whole = saved(tmp_path, Architecture(16, 1, 4, width=4))
    (tmp_path / "half").write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read as a classifier"):
        load_classifier(tmp_path / "half")
    net = Classifier(Architecture(16, 1, 4, width=4))
    net.head.weight.data.fill_(torch.nan)
    save_classifier(net, tmp_path / "nan", {})
    with pytest.raises(UserError, match="weights are not finite"):
        load_classifier(tmp_path / "nan")


@pytest.mark.slow
def test_training_learns_and_records_what_it_did(make_toy):
    dataset, said = make_toy(train=1500, test=100), []
    net, facts = train_classifier(dataset, epochs=5, width=8, batch_size=50, lr=0.1, say=said.append)
    assert facts["accuracy"] > 0.4 and "held-out accuracy" in said[-1]  # guessing reaches .0625
    assert facts["name"] == "shapes" and facts["steps"] == 150 and facts["dataset_sha256"] == dataset.sha256
    assert facts["held_out"] == "100 images of test" and json.dumps(facts)
    again, _ = train_classifier(make_toy(train=200, test=20), epochs=1, width=4, batch_size=50, say=said.append)
    twice, _ = train_classifier(make_toy(train=200, test=20), epochs=1, width=4, batch_size=50, say=said.append)
    assert torch.equal(again.head.weight, twice.head.weight)


def test_few_images_are_seen_as_often_as_asked(make_toy):
    made = []
    for few, epochs in ((16, 3), (40, 0.1)):
        net, facts = train_classifier(
            make_toy(train=few, test=8), epochs=epochs, width=4, batch_size=100, say=lambda text: None
        )
        made.append(facts["steps"])
        torch.manual_seed(0)
        fresh = Classifier(net.architecture)
        assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), fresh.parameters(), strict=True))
    assert made == [3, 2]  # batches of all; in the first step the rate is 0


def test_without_a_test_split_a_tenth_of_train_is_held_out(make_toy):
    _, facts = train_classifier(make_toy(train=100, test=0), epochs=0.5, width=4, batch_size=20, say=lambda s: None)
    assert facts["held_out"] == "10 images of train"


def test_a_time_limit_shortens_the_schedule(make_toy, monkeypatch):
    seconds = itertools.count()  # one passes with each look at the clock: one before the first step, one in each
    monkeypatch.setattr(classifier_training, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))
    _, facts = train_classifier(
        make_toy(train=200, test=10), epochs=500, width=4, batch_size=10, max_minutes=0.5, say=lambda s: None
    )
    assert facts["steps"] == 29  # the thirtieth would start after 30 s


def test_one_class_cannot_be_learned(make_toy):
    with pytest.raises(UserError, match="fewer than two classes"):
        train_classifier(make_toy(labels=torch.zeros(300, dtype=torch.int64)))
    with pytest.raises(ValueError, match="at least two classes"):
        Architecture(32, 3, 1)


def test_shifts_move_whole_images_and_flips_only_where_allowed():
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    moved = _shifted(images, torch.Generator().manual_seed(0), 1, flip=False)
    expected = {
        tuple(images[0, 0][rows][:, columns].flatten().tolist())
        for rows in [torch.arange(8).add(dy).clamp(0, 7) for dy in (-1, 0, 1)]
        for columns in [torch.arange(8).add(dx).clamp(0, 7) for dx in (-1, 0, 1)]
    }  # fmt: skip
    assert {tuple(image.flatten().tolist()) for image in moved} == expected
    still = _shifted(images, torch.Generator().manual_seed(0), 0, flip=True)
    kinds = {tuple(image.flatten().tolist()) for image in still}
    assert kinds == {tuple(x.flatten().tolist()) for x in (images[0], images[0].flip(2))}
