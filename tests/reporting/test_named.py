"""What a command says against what a configuration holds."""

import pytest

from gan_lab.config.compose import compose
from gan_lab.reporting.named import contradiction


@pytest.fixture(scope="module")
def config():
    from omegaconf import OmegaConf

    words = ("norm=bssn", "norm.scale=1.2", "loss=hinge", "penalty=r1", "optimizer=adam", "trainer.batch_size=32")
    return OmegaConf.to_container(compose(*words), resolve=True)


@pytest.mark.parametrize(
    "given",
    [{}, {"norm": "bssn", "norm.scale": "1.2"}, {"loss": "hinge"}, {"penalty": "r1"}, {"optimizer": "adam"},
     {"optimizer.d.lr": "2e-4"}, {"trainer.batch_size": "32"}, {"mine.own": "3"}, {"norm": "of_my_own"},
     {"penalty": "[r1]"}, {"penalty": "lecam", "penalty.r1.weight": "10"}, {"stop_on_collapse": "False"},
     {"trainer.batch_size": "${width}"}, {"dataset": "shapes"}],
    ids=str,
)  # fmt: skip
def test_words_that_can_have_led_there_contradict_nothing(config, given):
    if "optimizer.d.lr" in given:
        given = {"optimizer.d.lr": f"{config['optimizer']['d']['lr']:e}"}
    assert contradiction(given, config) is None


@pytest.mark.parametrize(
    "wrong",
    [("norm", "none"), ("norm", "sn"), ("norm", "ssn"), ("norm", "wn"), ("loss", "relativistic"), ("penalty", "none"),
     ("penalty", "gp"), ("norm.scale", "1.4"), ("trainer.batch_size", "64"), ("stop_on_collapse", "true"),
     ("recipe", "bssn_cnn"), ("norm.bidirectional", "false")],
    ids=str,
)  # fmt: skip
def test_words_of_another_run_do(config, wrong):
    assert contradiction({"loss.top_k": "1.0", **dict([wrong])}, {**config, "recipe": "dcgan"}) == "=".join(wrong)
