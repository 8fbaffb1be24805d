"""A checked configuration: typed, made once, and the same after a trip through plain data."""

import pickle

import pytest
import yaml

from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.config.plain import plain
from gan_lab.config.schema import SCHEMA_KEYS, Config, leaf_settings
from gan_lab.errors import UserError


def test_a_checked_configuration_is_what_was_composed_and_is_checked_once():
    cfg = compose("recipe=r3gan", "trainer.batch_size=16", "trainer.n_dis=3")
    config = check(cfg)
    assert isinstance(config, Config) and check(config) is config
    assert (config.trainer.batch_size, config.images_per_step, config.recipe) == (16, 48, "r3gan")
    assert config.tree() == plain(cfg)


def test_it_survives_plain_data_yaml_and_other_processes():
    config = check(compose("recipe=stylegan2_ada"))
    assert Config.from_tree(config.tree()) == config
    assert Config.from_tree(yaml.safe_load(yaml.safe_dump(config.tree()))) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_tree_of_another_version_takes_the_defaults_and_leaves_out_what_is_no_setting():
    config = Config.from_tree({"seed": 7, "trainer": {"n_dis": 2, "no_setting": 1}, "unknown": {}})
    assert (config.seed, config.trainer.n_dis) == (7, 2)
    assert config == Config.from_tree({"seed": 7, "trainer": {"n_dis": 2}})
    assert config.trainer.fake_labels == "uniform" and config.trainer.batch_size == Config().trainer.batch_size


def test_changing_the_tree_leaves_the_configuration_alone():
    config = check(compose())
    config.tree()["optimizer"]["g"]["lr"] = 5
    assert config.optimizer.g["lr"] != 5


def test_every_setting_has_a_meaning_and_a_default_in_its_range():
    settings = dict(leaf_settings())
    assert settings.keys() <= SCHEMA_KEYS and "trainer.batch_size" in settings and "trainer" not in settings
    config = Config().tree()
    for key, field in settings.items():
        assert field.metadata["meaning"], key
        value = config
        for part in key.split("."):
            value = value[part]
        allowed = field.metadata["range"]
        assert allowed is None or allowed.holds(value), key


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.fake_labels=dat", r"trainer\.fake_labels='dat': must be uniform or data; did you mean 'data'\?"),
        ("trainer.n_dis=0", r"trainer\.n_dis=0: must be at least 1"),
        ("ema.rampup=-1", r"ema\.rampup=-1\.0: must be at least 0 \(0: no ramp-up\)"),
        ("optimizer.g.lr=0", r"optimizer\.g\.lr=0: must be a number above 0 or a schedule of such values"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_in_a_sentence(word, sentence):
    with pytest.raises(UserError, match=sentence):
        check(compose(word))
