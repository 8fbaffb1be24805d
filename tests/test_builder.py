"""What is built from a configuration, and what is refused in a sentence."""

import numpy as np
import pytest
import torch

import gan_lab
from gan_lab.data.store import pack
from gan_lab.errors import UserError
from tests.training.short_runs import CONDITIONAL, build


@pytest.fixture(scope="module")
def one_class(tmp_path_factory):
    """A packed dataset whose images are all of one class."""
    folder = tmp_path_factory.mktemp("one") / "plain"
    images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    pack(folder, [(images, np.zeros(24, np.int64))], name="plain", class_names=["all"], test=4)
    return folder


@pytest.mark.slow
def test_the_average_starts_as_a_copy_of_g_that_is_not_trained(tiny_data):
    x = build(tiny_data, "generator=sngan_cnn")
    assert x.G_ema is not x.G and type(x.G_ema) is type(x.G)
    assert x.G.training and not x.G_ema.training
    assert all(p.requires_grad for p in x.G.parameters()) and not any(p.requires_grad for p in x.G_ema.parameters())
    ours, theirs = x.G.state_dict(), x.G_ema.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(theirs[k], v) for k, v in ours.items())
    assert all(a.data_ptr() != b.data_ptr() for a, b in zip(x.G.parameters(), x.G_ema.parameters(), strict=True))


def test_conditional_nets_are_given_the_classes_of_the_data(tiny_data):
    x = build(tiny_data, *CONDITIONAL)
    assert x.G.num_classes == x.D.num_classes == x.G_ema.num_classes == x.dataset.num_classes == 16
    assert x.G.class_weights.tolist() == [1 / 16] * 16
    plain = build(tiny_data, "generator=r3gan", "discriminator=r3gan", "width=0.03")
    assert plain.G.num_classes == plain.D.num_classes == 0 and plain.G.embedding is None


def test_fakes_are_asked_for_classes_as_often_as_the_data_have_them(tiny_data):
    x = build(tiny_data, *CONDITIONAL, "trainer.fake_labels=data")
    counts = np.bincount(x.dataset.labels("train").numpy(), minlength=16)
    assert len(set(counts.tolist())) > 1
    for G in (x.G, x.G_ema):
        assert G.class_weights.tolist() == pytest.approx((counts / 160).tolist())


@pytest.mark.parametrize(
    "words", [CONDITIONAL, [*CONDITIONAL[:3], "generator.conditional=true"]], ids=["both", "only G"]
)
def test_a_conditional_net_on_data_of_one_class_is_refused(one_class, words):
    with pytest.raises(UserError) as refused:
        build(one_class.parent, "dataset=packed", f"dataset.path={one_class}", *words)
    assert str(refused.value) == (
        "a conditional net needs classes, but dataset=plain has one: sort its images into one folder a class or "
        "list them in a labels.csv, or choose an unconditional generator and discriminator"
    )


def test_a_conditional_d_with_an_unconditional_g_is_refused(tiny_data):
    with pytest.raises(UserError, match="a conditional discriminator needs a conditional generator"):
        build(tiny_data, *CONDITIONAL, "generator.conditional=false")


def test_a_conditional_g_with_an_unconditional_d_trains(tiny_data, caplog):
    """D does not look at classes; G may use them as it likes."""
    x = build(tiny_data, *CONDITIONAL)
    assert "classes that D does not see" not in caplog.text
    x = build(tiny_data, *CONDITIONAL, "discriminator.condition=none")
    assert (x.G.num_classes, x.D.num_classes) == (16, 0)
    assert "classes that D does not see" in caplog.text


@pytest.mark.parametrize(
    ("words", "classes"),
    [((), (16, 16)), (("dataset.labels=false",), (0, 0)), (("generator.conditional=false",), (0, 0)),
     (("generator=dcgan",), (0, 0)), (("generator=wn_gan",), (0, 0)), (("discriminator=dcgan_plain",), (16, 0))],
)  # fmt: skip
def test_the_nets_of_the_default_use_the_classes_and_d_follows_g(tiny_data, words, classes):
    x = gan_lab.build(gan_lab.compose(f"data_dir={tiny_data}", "metrics=none", "width=0.0625", *words))
    assert (x.G.num_classes, x.D.num_classes) == classes


def test_other_data_keep_nets_without_classes(tiny_cifar, one_class):
    words = ("metrics=none", "width=0.0625")
    x = gan_lab.build(gan_lab.compose(f"data_dir={tiny_cifar}", "dataset=cifar10", *words))
    assert (x.G.num_classes, x.D.num_classes) == (0, 0)
    x = gan_lab.build(gan_lab.compose("dataset=packed", f"dataset.path={one_class}", *words))
    assert (x.G.num_classes, x.D.num_classes) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generator._target_=torch.nn.Identity"], "generator._target_=torch.nn.Identity: it must be a subclass of "
                                                   "gan_lab.nets.Generator"),
        (["discriminator._target_=torch.nn.Identity"], "it must be a subclass of gan_lab.nets.Discriminator"),
        (["+penalty.mine={_target_: torch.nn.Identity}"], "penalty.mine._target_=torch.nn.Identity: it must be a "
                                                          "subclass of gan_lab.penalties.Penalty"),
        (["augment=ada", "augment._target_=torch.nn.Identity"], "augment._target_=torch.nn.Identity: it must be a "
                                                                "subclass of gan_lab.augment.Augment"),
    ],
)  # fmt: skip
def test_parts_that_do_not_keep_the_promises_of_their_base_class_are_refused(tiny_data, words, sentence):
    for key in ("generator", "discriminator", "augment"):
        if any(word.startswith(f"{key}._target_") for word in words):
            node = gan_lab.compose(*[w for w in words if "_target_" not in w])[key]
            words = [*words, *(f"~{key}.{name}" for name in node if name != "_target_" and node[name] is not None)]
    with pytest.raises(UserError, match=sentence):
        build(tiny_data, *words)


def test_a_checked_configuration_is_built_as_it_is(tiny_data):
    x = build(tiny_data)
    again = gan_lab.build(x.config)
    assert again.config is x.config
    assert all(torch.equal(v, again.G.state_dict()[k]) for k, v in x.G.state_dict().items())


OWN = """
import torch
from gan_lab.penalties import Penalty

class Learnt(Penalty):
    def __init__(self):
        super().__init__(1.0, 1, "d")
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return self.scale * batch.real_logits.mean()
"""


def test_a_penalty_whose_parameters_nobody_would_train_is_refused(tiny_data, tmp_path, monkeypatch):
    (tmp_path / "own_parts_for_builder.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    words = (
        "extensions=[own_parts_for_builder]",
        "penalty=none",
        "+penalty.mine._target_=own_parts_for_builder.Learnt",
    )
    with pytest.raises(UserError, match=r"penalty\.mine: Learnt has parameters, which no optimizer trains"):
        build(tiny_data, *words)
