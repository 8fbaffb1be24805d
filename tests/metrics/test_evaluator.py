"""The evaluator: figures, names, randomness, protocol, and the cases where a figure has no meaning."""

from __future__ import annotations

import hashlib
import json
import math
import random
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from gan_lab.diagnostics.catalogue import ROW_KEYS
from gan_lab.errors import DivergedError, UserError
from gan_lab.metrics import Figure, LabelAccuracy, Metric, classifier_evaluator, functional, inception_evaluator
from gan_lab.metrics import evaluator as evaluator_module
from gan_lab.metrics.backbones.classifier import SHIPPED, load_classifier, save_classifier
from gan_lab.metrics.backbones.inception_weights import InceptionExtractor
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.protocol import difference
from gan_lab.metrics.reference import chosen_indices
from tests.metrics.host_reads import HostReads

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
    assert list(figures) == NAMES == [figure.name for figure in evaluator.figures]
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
    assert evaluator.best_figure.name == "fid_shapes" and evaluator.best_figure.higher_is_better is False
    assert evaluator.best_figure.improves(good["fid_shapes"], bad["fid_shapes"])


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
    assert evaluator.ema is False and evaluator.truncation == 0.7
    same = make(toy, tmp_path, num_samples=100, num_real=80, ema=False, truncation=0.7, seed=3, batch_size=7)
    assert same.protocol_hash == evaluator.protocol_hash  # the batch is no part of it
    standing = make(toy, tmp_path, standing_statistics=5, batch_size=7).protocol
    assert standing["bn_mode"] == "standing statistics of 5 batches of 7"
    for change in ({"seed": 4}, {"num_real": 90}, {"ema": True}, {"truncation": 1.0}, {"real_split": "test"},
                   {"standing_statistics": 2}):  # fmt: skip
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

    with pytest.raises(DivergedError, match="4 of 120 images"):  # one in each batch
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
                 "precision_shapes, recall_shapes, density_shapes, coverage_shapes are left out"):  # fmt: skip
        assert part in text
    figures = evaluator(noise)
    assert list(figures) == ["is_shapes", "is_shapes_std", "modes_shapes", "modes_kl_shapes"]
    assert figures["is_shapes"] == pytest.approx(1.0) and evaluator.best_figure.name == "is_shapes"
    assert evaluator.best_figure.higher_is_better


def test_few_samples_are_warned_about(toy, tmp_path):
    with pytest.warns(UserWarning, match="fid_shapes from 60 images in 64 dimensions: the covariance is singular"):
        classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=60, kid_subset_size=50)
    with pytest.warns(UserWarning, match="kid_subset_size reduced from 1000 to the 100"):
        classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=100)


def test_a_classifier_of_another_name_is_known_by_the_images_it_was_trained_on(make_toy, tmp_path):
    toy = make_toy(train=100)
    net, info = load_classifier(SHIPPED / "shapes.safetensors")
    for sha256, warned in ((toy.sha256, False), ("0" * 64, True)):
        save_classifier(net, tmp_path / "mine.safetensors", info | {"name": "mine", "dataset_sha256": sha256})
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights=str(tmp_path / "mine.safetensors"))
        assert any("'mine' was not trained on dataset=" in str(w.message) for w in told) == warned


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
     ({"truncation": 1.5}, "truncation must be above 0"), ({"kid_subset_size": 1}, "kid_subset_size"),
     ({"num_real": -3}, "num_real must be at least 1"), ({"pairwise": 0}, "pairwise"),
     ({"seed": -1}, r"seed must be a whole number from 0 to 2\^32-1, not -1"), ({"seed": 2**32}, "seed must be"),
     ({"extra": None}, "extra must give each metric a name"), ({"extra": [1]}, "extra must give each metric a name")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(toy, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make(toy, tmp_path, **settings)


def test_a_split_without_images_and_an_unknown_best_are_refused(make_toy, toy, tmp_path):
    with pytest.raises(UserError, match="real_split=test: dataset shapes has no such images"):
        make(make_toy(test=0), tmp_path, real_split="test")
    with pytest.raises(UserError, match="metrics.best=fidd: no such figure; there are fid_shapes, is_shapes"):
        make(toy, tmp_path, best="fidd")
    with pytest.raises(UserError, match="metrics.best=kid_std: it does not say which of two"):
        make(toy, tmp_path, best="kid_std")
    assert make(toy, tmp_path, best="kid").best_figure.name == "kid_shapes"
    assert make(toy, tmp_path, best="is").best_figure.name == "is_shapes"
    assert make(toy, tmp_path, best="modes_shapes").best_figure.name == "modes_shapes"


def test_figures_may_be_switched_off(toy, tmp_path):
    evaluator = make(toy, tmp_path, kid=False, precision_recall=False)
    assert list(evaluator(noise)) == [
        "fid_shapes",
        "is_shapes",
        "is_shapes_std",
        "modes_shapes",
        "modes_kl_shapes",
    ]
    assert evaluator.reference.gaussian.n == 120
    with pytest.raises(AttributeError, match="was not accumulated"):  # nothing is kept that nobody needs
        evaluator.reference.pairs  # noqa: B018


def test_inception_names_its_figures_by_the_tap(toy, tmp_path, monkeypatch):
    class Fixed(InceptionExtractor):
        def __init__(self, weights, tap, device):
            self._describe(tap, "0" * 64)
            self.num_features, self.num_logits = 8, 12 if tap in ("2048", "logits") else 0

        def __call__(self, images):
            x = images.float().flatten(1)[:, :12].contiguous()
            return {"features": x[:, :8]} | ({"logits": x / 50} if self.num_logits else {})

    monkeypatch.setattr("gan_lab.metrics.evaluator.InceptionExtractor", Fixed)
    settings = dict(dataset=toy, cache_dir=tmp_path, num_samples=50, kid_subset_size=20)
    four = ["precision", "recall", "density", "coverage"]
    whole = inception_evaluator(feature=2048, **settings)(noise)
    assert list(whole) == ["fid", "is_mean", "is_std", "kid", "kid_std", *four]
    before = inception_evaluator(feature="768", **settings)(noise)
    assert list(before) == ["fid768", "kid768", "kid768_std", *[f"{name}768" for name in four]]
    last = inception_evaluator(feature="logits", precision_recall=False, **settings)(noise)
    assert list(last) == ["fid_logits", "is_mean", "is_std", "kid_logits", "kid_logits_std"]
    assert inception_evaluator(feature=768, best="kid", **settings).best_figure.name == "kid768"
    with pytest.raises(ValueError, match="feature must be one of 64, 192, 768, 2048, logits, not 512"):
        inception_evaluator(feature=512, **settings)
    with pytest.raises(UserError, match="no figure can be computed from 1 fakes"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inception_evaluator(feature=64, **{**settings, "num_samples": 1})


def test_the_largest_seed_is_one_that_numpy_takes(toy, tmp_path):
    assert make(toy, tmp_path, seed=2**32 - 1, kid_subset_size=20)(noise)["kid_shapes"] > 0


RECORDED = (Figure("recorded", higher_is_better=True),)


class Recorded(Metric):
    """Keeps what it was given, and gives back what it was told."""

    def __init__(self, needs, figures=RECORDED, value=1.0):
        self.needs, self.figures, self.value = needs, figures, value

    def compute(self, fake, real):
        self.fake, self.real = fake, real
        return self.value


EVERYTHING = tuple(f"{side}.{what}" for side in ("fake", "real")
                   for what in ("gaussian", "features", "pairs", "logits", "labels", "images"))  # fmt: skip


def test_a_metric_is_given_exactly_what_it_needs(toy, tmp_path):
    metric = Recorded(EVERYTHING)
    settings = dict(num_samples=100, fid_samples=70, num_real=60, pairwise=25, kid_subset_size=20)
    evaluator = make(toy, tmp_path, extra={"all": metric}, conditional=True, **settings)
    fakes, classes = toy.images("train", torch.arange(100)), torch.arange(100) % 16
    sample = shown(fakes)
    place = iter(classes.split(32))
    assert evaluator(lambda n: (sample(n), next(place)))["recorded_shapes"] == 1.0
    chosen = chosen_indices(240, 60)
    reals = toy.images("train", chosen)
    taps, real_taps = evaluator.extractor(fakes), evaluator.extractor(reals)
    fake, real = metric.fake, metric.real
    assert fake.gaussian.n == 70 and real.gaussian.n == 60
    torch.testing.assert_close(fake.gaussian.mean, taps["features"][:70].double().mean(0))
    torch.testing.assert_close(fake.features, taps["features"][:70])
    torch.testing.assert_close(real.features, real_taps["features"])
    assert torch.equal(fake.pairs, fake.features[:25]) and torch.equal(real.pairs, real.features[:25])
    torch.testing.assert_close(fake.logits, taps["logits"])
    torch.testing.assert_close(real.logits, real_taps["logits"])
    assert torch.equal(fake.images, fakes[:25]) and torch.equal(real.images, reals[:25])
    assert torch.equal(fake.labels, classes) and torch.equal(real.labels, toy.labels("train")[chosen])

    few = Recorded(("fake.images",))
    make(toy, tmp_path, extra={"few": few}, kid=False, precision_recall=False)(noise)
    for attribute in ("pairs", "features", "labels"):
        with pytest.raises(AttributeError, match=f"'{attribute}' was not accumulated"):
            getattr(few.fake, attribute)


def test_the_backbone_is_not_run_over_reals_that_no_metric_needs(toy, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = classifier_evaluator(dataset=toy, cache_dir=tmp_path, weights="shapes", num_samples=40, num_real=1)
    assert list(evaluator(noise)) == ["is_shapes", "is_shapes_std", "modes_shapes", "modes_kl_shapes"]
    assert toy.reads == 0 and not list(tmp_path.iterdir())


def test_what_a_metric_from_outside_may_not_ask_for_is_said_before_anything_is_measured(toy, tmp_path):
    for extra, message in [
        (Recorded(("fake.featurs",)), "metrics.extra.mine needs 'fake.featurs', which is none of fake.features"),
        (Recorded(("fake.labels",)), "the generator is unconditional"),
        (Recorded(("fake.images",), (Figure("fid_shapes", False),)), "two metrics give a figure named fid_shapes"),
        ({"_target_": "x"}, "metrics.extra.mine is no metric"), (5, "is no metric"), (None, "is no metric"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=message):
            make(toy, tmp_path, extra={"mine": extra})
    assert toy.reads == 0


def test_a_metric_that_gives_another_number_of_figures_is_refused(toy, tmp_path):
    evaluator = make(toy, tmp_path, extra={"mine": Recorded(("fake.images",), value=(1.0, 2.0))})
    with pytest.raises(ValueError, match="Recorded gave 2 numbers for 1 figures"):
        evaluator(noise)


def test_a_metric_may_give_its_figures_as_a_tensor_or_an_array(toy, tmp_path):
    figures = (Figure("one", True), Figure("two", False))
    for value in (torch.tensor([1.0, 2.0]), np.array([1.0, 2.0]), [1.0, torch.tensor(2.0)]):
        found = make(toy, tmp_path, extra={"mine": Recorded(("fake.images",), figures, value)})(noise)
        assert (found["one"], found["two"]) == (1.0, 2.0)


def test_keys_of_every_row_are_no_names_of_figures(toy, tmp_path):
    for key in (*ROW_KEYS, "protocol", "checkpoint", "evaluated", "events"):
        with pytest.raises(UserError, match=f"a metric gives a figure named {key}, which is a key of every row"):
            make(toy, tmp_path, extra={"mine": Recorded(("fake.images",), (Figure(key, True),))})


def test_an_exact_name_comes_before_a_name_without_the_suffix(toy, tmp_path):
    extra = {"mine": Recorded(("fake.images",), (Figure("fid", True),))}
    assert make(toy, tmp_path, extra=extra, best="fid").best_figure == Figure("fid", True)
    assert make(toy, tmp_path, best="fid").best_figure.name == "fid_shapes"


def test_classes_of_one_name_from_two_modules_have_two_protocols(toy, tmp_path):
    class Other(Recorded):
        pass

    Other.__name__, Other.__module__ = "Recorded", "elsewhere"
    one, two = (make(toy, tmp_path, extra={"mine": kind(("fake.images",))}) for kind in (Recorded, Other))
    assert one.protocol["extra"] == two.protocol["extra"] and one.protocol_hash != two.protocol_hash


def test_reals_of_another_split_of_the_same_images_have_statistics_of_their_own(make_toy, tmp_path):
    """Which of them are chosen depends on how many there are."""
    means = []
    for train in (240, 120):
        data = make_toy()
        data.num_train = train
        means.append(make(data, tmp_path, num_real=60).reference.gaussian.mean)
        alone = make(data, tmp_path / str(train), num_real=60).reference.gaussian.mean
        assert torch.equal(means[-1], alone)
    assert not torch.allclose(*means)


def test_an_extra_metric_and_its_settings_are_in_the_protocol(toy, tmp_path):
    plain = make(toy, tmp_path)
    one, two = (make(toy, tmp_path, extra={"mine": Recorded(("fake.images",), value=v)}) for v in (1.0, 2.0))
    assert one.protocol["extra"] == {"mine": {"metric": "Recorded", "value": 1.0}}
    assert len({plain.protocol_hash, one.protocol_hash, two.protocol_hash}) == 3
    assert "extra" not in plain.protocol and one.protocol["higher_is_better"]["recorded"] is True


def test_directions_are_in_the_protocol_and_not_in_its_hash(toy, tmp_path):
    evaluator = make(toy, tmp_path)
    assert evaluator.protocol["higher_is_better"] == {
        "fid_shapes": False, "is_shapes": True, "kid_shapes": False, "precision_shapes": True, "recall_shapes": True,
        "density_shapes": True, "coverage_shapes": True, "modes_shapes": True, "modes_kl_shapes": False,
    }  # fmt: skip
    assert {f.name for f in evaluator.figures if f.higher_is_better is None} == {"is_shapes_std", "kid_shapes_std"}
    without = {key: value for key, value in evaluator.protocol.items() if key != "higher_is_better"}
    text = json.dumps(without, sort_keys=True, separators=(",", ":"))
    assert evaluator.protocol_hash == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_conditional_evaluation_says_how_labels_were_drawn(toy, tmp_path):
    plain, uniform = make(toy, tmp_path), make(toy, tmp_path, conditional=True)
    assert "fake_labels" not in plain.protocol and uniform.protocol["fake_labels"] == "uniform"
    data = make(toy, tmp_path, conditional=True, fake_labels="as in the data")
    assert len({plain.protocol_hash, uniform.protocol_hash, data.protocol_hash}) == 3
    figures = uniform(lambda n: (noise(n), torch.zeros(n, dtype=torch.int64)))
    assert figures == plain(noise)  # labels alone change nothing
    with pytest.raises(ValueError, match=r"sample\(32\) must give images and their classes"):
        uniform(noise)
    with pytest.raises(ValueError, match=r"sample\(32\) must give images alone"):
        plain(lambda n: (noise(n), torch.zeros(n)))
    with pytest.raises(ValueError, match=r"sample\(32\) gave 31 classes"):
        uniform(lambda n: (noise(n), torch.zeros(n - 1)))


def test_no_batch_makes_the_host_wait(toy, tmp_path):
    """Everything that is read from the device is read once an evaluation, however many batches there are."""
    counts = {}
    for batch_size in (60, 20):
        evaluator = make(toy, tmp_path, batch_size=batch_size, conditional=True, extra={"labels": LabelAccuracy()})
        evaluator.reference  # noqa: B018
        with HostReads() as reads:
            evaluator(lambda n: (noise(n), torch.zeros(n, dtype=torch.int64)))
        counts[batch_size] = len(reads.found)
    assert counts[60] == counts[20] > 0


def test_compare_gives_the_figures_of_an_evaluation_of_the_same_images(toy, tmp_path):
    evaluator = make(toy, tmp_path, num_samples=60, num_real=50)
    fakes, reals = toy.images("test", torch.arange(60)), toy.images("train", chosen_indices(240, 50))
    wanted = evaluator(shown(fakes))
    found = evaluator.compare(fakes.split(17), reals.split(13))
    assert found == pytest.approx(wanted, rel=1e-9)
    with pytest.raises(ValueError, match="59 images were given where the evaluation is of 60"):
        evaluator.compare([fakes[:59]], [reals])
    with pytest.raises(ValueError, match="49 images were given where the evaluation is of 50"):
        evaluator.compare([fakes], [reals[:49]])
    labelled = make(toy, tmp_path, extra={"x": Recorded(("real.labels",))})
    with pytest.raises(UserError, match="needs the classes of the reals"):
        labelled.compare([], [])


def test_samples_may_be_shuffled_before_the_inception_score_splits_them(toy, tmp_path):
    fakes = toy.images("train", torch.arange(120))
    plain, mixed = make(toy, tmp_path), make(toy, tmp_path, splits_seed=2020)
    logits = plain.extractor(fakes)["logits"]
    assert mixed(shown(fakes))["is_shapes"] == pytest.approx(functional.inception_score(logits, 10, 2020)[0], rel=1e-9)
    assert plain(shown(fakes))["is_shapes"] != mixed(shown(fakes))["is_shapes"]
    assert mixed.protocol["is_shuffle_seed"] == 2020 and "is_shuffle_seed" not in plain.protocol


@pytest.mark.parametrize("conditional", [False, True])
def test_several_threads_give_the_figures_of_one(toy, tmp_path, monkeypatch, conditional):
    figures, waiting = [], threading.Barrier(2, timeout=60)

    def extractor_of(evaluator, meet):
        true = evaluator.extractor

        class Meeting(type(true)):
            def __call__(self, images):
                meet()
                return super().__call__(images)

        true.__class__ = Meeting
        return evaluator

    def sample(n):
        return (noise(n), torch.arange(n) % 16) if conditional else noise(n)

    for count, meet in ((1, lambda: None), (2, waiting.wait)):
        monkeypatch.setattr(evaluator_module, "idle_cores", lambda device, count=count: count)
        extra = {"labels": LabelAccuracy()} if conditional else {}
        made = make(toy, tmp_path / str(count), batch_size=30, num_real=120, conditional=conditional, extra=extra)
        figures.append(extractor_of(made, meet)(sample))  # four batches of fakes, four of reals
    assert figures[0] == figures[1] and all(map(math.isfinite, figures[0].values()))
