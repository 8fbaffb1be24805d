"""The evaluator: figures, names, randomness, protocol, and the cases where a figure has no meaning."""

from __future__ import annotations

import math
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_lab.errors import DivergedError, UserError
from gan_lab.metrics import classifier_evaluator, functional, inception_evaluator
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.images import quantize
from gan_lab.metrics.protocol import difference
from gan_lab.metrics.real import chosen_indices

NAMES = ["fid_shapes", "is_shapes", "is_shapes_std", "kid_shapes", "kid_shapes_std", "precision_shapes",
         "recall_shapes", "density_shapes", "coverage_shapes", "modes_shapes", "modes_kl_shapes"]  # fmt: skip


def make(dataset, cache: Path, **settings) -> Evaluator:
    settings = {"num_samples": 120, "batch_size": 32, "weights": "shapes", **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classifier_evaluator(dataset=dataset, cache_dir=cache, **settings)


def noise(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32) * 2 - 1


def shown(images: torch.Tensor):
    """A generator that gives these uint8 images one after another, and then begins again."""
    place = 0

    def sample(n: int) -> torch.Tensor:
        nonlocal place
        part = images[torch.arange(place, place + n) % len(images)]
        place = (place + n) % len(images)
        return part.float() / 127.5 - 1

    return sample


def test_all_figures_come_from_one_pass_and_equal_the_functions(toy, tmp_path):
    evaluator = make(toy, tmp_path, num_samples=150, num_real=200, splits=4, kid_subset_size=60, kid_subsets=5)
    fakes = toy.images("train", torch.arange(150)).flip(3)
    calls, extractor = [], evaluator.extractor
    hook = extractor.net.register_forward_pre_hook(lambda net, arguments: calls.append(len(arguments[0])))
    figures = evaluator(shown(fakes))
    hook.remove()
    assert list(figures) == NAMES == evaluator.figures()
    assert sum(calls) == 150 + 200  # each fake and each real once

    fake, real = extractor(fakes), extractor(toy.images("train", chosen_indices(240, 200)))
    a, b = functional.mean_and_covariance(fake["features"]), functional.mean_and_covariance(real["features"])
    assert figures["fid_shapes"] == pytest.approx(functional.frechet_distance(*a, *b), rel=1e-6)
    assert figures["is_shapes"] == pytest.approx(functional.inception_score(fake["logits"], 4)[0], rel=1e-6)
    kid = functional.kernel_distance(fake["features"], real["features"], 5, 60)
    assert (figures["kid_shapes"], figures["kid_shapes_std"]) == pytest.approx(kid, rel=1e-5)
    precision, recall = functional.precision_recall(real["features"], fake["features"])
    assert (figures["precision_shapes"], figures["recall_shapes"]) == pytest.approx((precision, recall))
    assert figures["modes_shapes"] == len(fake["logits"].argmax(1).unique())
    counts = torch.bincount(toy.labels("train"), minlength=16)
    seen = torch.bincount(fake["logits"].argmax(1), minlength=16)
    assert figures["modes_kl_shapes"] == pytest.approx(functional.label_divergence(seen, counts))


def test_good_images_are_told_from_bad_ones(toy, tmp_path):
    evaluator = make(toy, tmp_path)
    good = evaluator(shown(toy.images("test", torch.arange(60))))
    bad = evaluator(noise)
    assert good["fid_shapes"] < bad["fid_shapes"] / 10
    assert good["kid_shapes"] < bad["kid_shapes"] / 10
    assert good["is_shapes"] > 5 > bad["is_shapes"] >= 1
    assert good["modes_shapes"] >= 15 > bad["modes_shapes"] and good["modes_kl_shapes"] < bad["modes_kl_shapes"]
    assert good["precision_shapes"] > bad["precision_shapes"]
    assert evaluator.best_metric == "fid_shapes" and evaluator.best_is_lower


def test_dropped_modes_are_counted(toy, tmp_path):
    images, labels = toy.images("train", torch.arange(240)), toy.labels("train")
    figures = make(toy, tmp_path)(shown(images[labels < 4]))  # circles only
    assert figures["modes_shapes"] == 4
    assert figures["modes_kl_shapes"] == pytest.approx(math.log(4), abs=0.2)


def test_an_evaluation_leaves_all_random_states_and_the_weights_alone(toy, tmp_path):
    def train(every: int) -> torch.Tensor:
        evaluator = make(toy, tmp_path, num_samples=40)
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        G = torch.nn.Linear(8, 3 * 32 * 32)
        optimizer = torch.optim.Adam(G.parameters())
        for step in range(20):
            if every and step % every == 0:
                evaluator(lambda n: torch.tanh(G(torch.randn(n, 8))).view(n, 3, 32, 32))
            loss = (G(torch.randn(4, 8)) - np.random.rand() - random.random()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return G.weight.detach().clone()

    never = train(0)
    assert torch.equal(train(2), never) and torch.equal(train(7), never)


def test_the_samples_depend_on_the_seed_and_not_on_the_caller(toy, tmp_path):
    evaluator, other = make(toy, tmp_path), make(toy, tmp_path, seed=1)
    torch.manual_seed(1)
    first = evaluator(noise)
    torch.manual_seed(2)
    assert evaluator(noise) == first
    assert other(noise)["fid_shapes"] != first["fid_shapes"]
    assert evaluator(lambda n: noise(n).requires_grad_()) == first  # and no graph is kept


def test_the_protocol_says_what_was_done(toy, tmp_path):
    evaluator = make(toy, tmp_path, num_samples=100, num_real=80, ema=False, truncation=0.7, seed=3)
    protocol = evaluator.protocol
    assert len(protocol["weights_sha256"]) == 64 and protocol["dataset_sha256"] == toy.sha256
    expected = {
        "num_fake": 100, "num_real": 80, "real_split": "train", "is_splits": 10, "truncation": 0.7,
        "weights_of_G": "raw", "bn_mode": "running statistics", "seed": 3, "tap": "penultimate",
        "resize": "none", "quantizer": "clamp, round, uint8", "real_choice": "random, seed 0",
        "kid": "100 subsets of 80", "dataset": "shapes",
    }  # fmt: skip
    assert {key: protocol[key] for key in expected} == expected
    assert evaluator.use_ema is False and evaluator.truncation == 0.7
    same = make(toy, tmp_path, num_samples=100, num_real=80, ema=False, truncation=0.7, seed=3, batch_size=7)
    assert same.protocol_hash == evaluator.protocol_hash  # the batch is no part of it
    for change in ({"seed": 4}, {"num_real": 90}, {"ema": True}, {"truncation": 1.0}, {"real_split": "test"}):
        settings = {"num_samples": 100, "num_real": 60, "ema": False, "truncation": 0.7, "seed": 3}
        a, b = make(toy, tmp_path, **settings), make(toy, tmp_path, **{**settings, **change})
        assert a.protocol_hash != b.protocol_hash and difference(a.protocol, b.protocol)


def test_fid_samples_limits_fid_and_not_the_inception_score(toy, tmp_path):
    all_of_them = make(toy, tmp_path, num_samples=120, num_real=60)
    fewer = make(toy, tmp_path, num_samples=120, fid_samples=80, num_real=60)
    only = make(toy, tmp_path, num_samples=80, num_real=60)
    fewer.batch_size = only.batch_size = all_of_them.batch_size = 40
    a, b, c = all_of_them(noise), fewer(noise), only(noise)
    assert b["is_shapes"] == a["is_shapes"] != c["is_shapes"]
    for key in ("fid_shapes", "kid_shapes", "precision_shapes"):
        assert b[key] == pytest.approx(c[key], rel=1e-9)
    assert b["fid_shapes"] != a["fid_shapes"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_images_that_are_not_finite_stop_the_evaluation(toy, tmp_path, bad):
    def sample(n: int) -> torch.Tensor:
        images = noise(n)
        images[1, 0, 3, 3] = bad
        return images

    with pytest.raises(DivergedError, match="1 of 32 images"):
        make(toy, tmp_path)(sample)


def test_constant_images_have_figures(toy, tmp_path):
    figures = make(toy, tmp_path)(lambda n: torch.zeros(n, 3, 32, 32))
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["is_shapes"] == pytest.approx(1.0) and figures["is_shapes_std"] == pytest.approx(0.0)
    assert figures["modes_shapes"] == 1 and figures["recall_shapes"] == 0 and figures["fid_shapes"] > 1


def test_one_sample_leaves_out_what_needs_more_and_says_so(toy, tmp_path):
    with pytest.warns(UserWarning) as told:
        evaluator = classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=1)
    text = " | ".join(str(w.message) for w in told)
    for part in ("fid_shapes is left out", "splits reduced from 10 to the 1", "kid_shapes is left out",
                 "precision_shapes and its kin are left out"):  # fmt: skip
        assert part in text
    figures = evaluator(noise)
    assert list(figures) == ["is_shapes", "is_shapes_std", "modes_shapes", "modes_kl_shapes"]
    assert figures["is_shapes"] == pytest.approx(1.0) and evaluator.best_metric == "is_shapes"
    assert not evaluator.best_is_lower


def test_few_samples_are_warned_about(toy, tmp_path):
    with pytest.warns(UserWarning, match="fid_shapes from 60 images in 64 dimensions: the covariance is singular"):
        classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=60, kid_subset_size=50)
    with pytest.warns(UserWarning, match="kid_subset_size reduced from 1000 to the 100"):
        classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=100)


def test_enough_samples_warn_of_nothing(make_toy, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_toy(train=100)
        classifier_evaluator(
            dataset=make_toy(train=100),
            cache_dir=tmp_path,
            weights="shapes",
            num_samples=200,
            kid_subset_size=50,
        )


def test_one_class_only(make_toy, tmp_path):
    dataset = make_toy(labels=torch.zeros(300, dtype=torch.int64))
    dataset.num_classes = 1
    evaluator = make(dataset, tmp_path)  # without labels of its own, the classifier's opinion is the reference
    figures = evaluator(shown(dataset.images("train", torch.arange(240))))
    assert figures["modes_kl_shapes"] < 0.2 and all(math.isfinite(v) for v in figures.values())


def test_gray_data_and_three_channel_fakes_may_be_compared(make_toy, tmp_path):
    gray = make_toy(channels=1)
    evaluator = make(gray, tmp_path)
    figures = evaluator(lambda n: noise(n)[:, :1])
    assert evaluator(lambda n: noise(n)[:, :1].repeat(1, 3, 1, 1)) == figures  # repeating is what it does itself


def test_a_generator_that_gives_too_few_images_is_refused(toy, tmp_path):
    with pytest.raises(ValueError, match=r"sample\(32\) gave 31 images"):
        make(toy, tmp_path)(lambda n: noise(n - 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_samples": 0}, "num_samples must be at least 1, not 0"),
     ({"splits": 0}, "splits must be at least 1"), ({"batch_size": 0}, "batch_size must"),
     ({"real_split": "all"}, "real_split must be train or test, not 'all'"),
     ({"truncation": 1.5}, "truncation must lie above 0"), ({"kid_subset_size": 1}, "kid_subset_size"),
     ({"num_real": -3}, "num_real must be at least 1"), ({"pairwise": 0}, "pairwise")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(toy, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make(toy, tmp_path, **settings)


def test_a_split_without_images_and_an_unknown_best_are_refused(make_toy, toy, tmp_path):
    with pytest.raises(UserError, match="real_split=test: dataset shapes has no such images"):
        make(make_toy(test=0), tmp_path, real_split="test")
    with pytest.raises(UserError, match="metrics.best=fidd: no such figure; there are fid_shapes, is_shapes"):
        make(toy, tmp_path, best="fidd")
    assert make(toy, tmp_path, best="kid").best_metric == "kid_shapes"
    assert make(toy, tmp_path, best="modes_shapes").best_metric == "modes_shapes"


def test_figures_may_be_switched_off(toy, tmp_path):
    evaluator = make(toy, tmp_path, kid=False, precision_recall=False)
    assert list(evaluator(noise)) == [
        "fid_shapes",
        "is_shapes",
        "is_shapes_std",
        "modes_shapes",
        "modes_kl_shapes",
    ]
    assert evaluator.real.features.numel() == 0  # nothing is kept that nobody needs


def test_inception_names_its_figures_by_the_tap(toy, tmp_path, monkeypatch):
    class Fixed:
        name, weights_sha256, resize = "inception-2015-12-05", "0" * 64, "none"

        def __init__(self, weights, tap, device):
            self.num_features, self.num_logits = 8, 12 if tap in ("2048", "logits") else 0

        def __call__(self, images):
            x = images.float().flatten(1)[:, :12].contiguous()
            return {"features": x[:, :8]} | ({"logits": x / 50} if self.num_logits else {})

    monkeypatch.setattr("gan_lab.metrics.factories.InceptionExtractor", Fixed)
    settings = dict(dataset=toy, cache_dir=tmp_path, num_samples=50, kid_subset_size=20)
    four = ["precision", "recall", "density", "coverage"]
    whole = inception_evaluator(feature=2048, **settings)(noise)
    assert list(whole) == ["fid", "is_mean", "is_std", "kid", "kid_std", *four]
    before = inception_evaluator(feature="768", **settings)(noise)
    assert list(before) == ["fid768", "kid768", "kid768_std", *[f"{name}768" for name in four]]
    last = inception_evaluator(feature="logits", precision_recall=False, **settings)(noise)
    assert list(last) == ["fid_logits", "is_mean", "is_std", "kid_logits", "kid_logits_std"]
    assert inception_evaluator(feature=768, best="kid", **settings).best_metric == "kid768"
    with pytest.raises(ValueError, match="feature must be one of 64, 192, 768, 2048, logits, not 512"):
        inception_evaluator(feature=512, **settings)
    with pytest.raises(UserError, match="no figure can be computed from 1 fakes"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inception_evaluator(feature=64, **{**settings, "num_samples": 1})


def test_quantization_clamps_rounds_and_passes_uint8():
    x = torch.tensor([-1.5, -1.0, -0.9999, 0.0, 0.003, 0.004, 0.9961, 1.0, 7.0]).view(1, 1, 3, 3)
    expected = [0, 0, 0, 128, 128, 128, 255, 255, 255]  # 127.5 rounds to even
    assert quantize(x).flatten().tolist() == expected
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(quantize(every.float() / 127.5 - 1), every)
    assert quantize(every) is every
