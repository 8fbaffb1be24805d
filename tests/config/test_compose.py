"""Composition: defaults, selections, and that every configuration in conf/ fits the code it names."""

import re
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hydra
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from gan_lab.cli import train as cli
from gan_lab.config import compose as config
from gan_lab.config.check import check
from gan_lab.config.compose import GROUPS, compose
from gan_lab.config.options import config_dir
from gan_lab.config.plain import plain
from gan_lab.errors import UserError
from gan_lab.sweep.jobs import sweep_jobs

REPOSITORY = Path(__file__).resolve().parents[2]
EXTRA = {
    "dataset=folder": ["dataset.path=images"],
    "dataset=packed": ["dataset.path=images"],
    "metrics=classifier": ["metrics.weights=net.safetensors"],
}
OPTIONS = [f"{g}={p.stem}" for g in GROUPS for p in sorted((config_dir() / g).glob("*.yaml"))]


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_every_group_passes_the_lint(option):
    checked = check(compose(option, *EXTRA.get(option, [])))
    assert checked.generator["_target_"].startswith("gan_lab.")


def test_recipes_are_short_and_say_where_they_come_from():
    for path in (config_dir() / "recipe").glob("*.yaml"):
        text = path.read_text()
        assert len(text.splitlines()) <= 40, path
        assert "arXiv:" in text and f"recipe={path.stem}" in text and f"recipe: {path.stem}\n" in text, path


def test_two_penalties_are_selected_by_a_list():
    assert sorted(compose("penalty=[r1,lecam]").penalty) == ["lecam", "r1"]


@pytest.mark.slow
def test_a_choice_composed_once_is_what_hydra_composes(monkeypatch):
    """Of `tests.composing`, which composes for all tests."""
    many = ("recipe=biggan", "penalty=[r1,lecam]", "penalty.r1.weight=3", "+generator.x={a:1}", "hydra.run.dir='a b'")
    for words in (many, ("width=0.5", *many[:-1], "seed=3"), ()):
        once = compose(*words)
        with monkeypatch.context() as patched:
            patched.setattr(config, "hydra_compose", hydra.compose)
            by_hydra = compose(*words)
        assert OmegaConf.to_yaml(once) == OmegaConf.to_yaml(by_hydra) and once == by_hydra
        assert OmegaConf.is_struct(once) and OmegaConf.get_type(once, "trainer") is OmegaConf.get_type(
            by_hydra, "trainer"
        )


@pytest.mark.slow
def test_the_dataset_brings_its_metric_and_its_length_but_the_command_line_wins():
    assert compose().metrics.weights == "shapes"
    cifar = compose("dataset=cifar10", "norm=bssn")
    assert cifar.metrics._target_.endswith("inception_evaluator")
    assert (cifar.width, cifar.trainer.total_steps, cifar.norm.bidirectional) == (1.0, 100_000, True)
    assert compose("dataset=cifar10", "metrics=none").metrics is None
    assert compose("width=0.5").width == 0.5
    wide = compose("width=0.3")  # the embedded default's D is a third narrower than its G, whatever the width
    assert (wide.generator.width, wide.discriminator.width) == (0.3, pytest.approx(0.2))
    assert compose("discriminator=dcgan_plain").discriminator.width == compose().generator.width


def test_a_recipe_wins_over_the_dataset_and_the_command_line_over_both():
    cfg = compose("recipe=sngan_resnet")
    assert (cfg.dataset.name, cfg.trainer.n_dis, cfg.width) == ("shapes", 5, 1.0)
    assert cfg.norm._target_ == "gan_lab.norms.SpectralNorm" and cfg.penalty == {}
    changed = compose("recipe=sngan_resnet", "norm=bssn", "trainer.n_dis=2")
    assert changed.norm.bidirectional is True and changed.trainer.n_dis == 2


def test_data_dir_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("GAN_LAB_DATA", "/somewhere")
    assert plain(compose())["data_dir"] == "/somewhere"
    monkeypatch.delenv("GAN_LAB_DATA")
    assert plain(compose())["data_dir"] == "./data"


def test_extensions_allow_targets_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_losses_for_test.py").write_text("def plus(real_logits, fake_logits):\n    return real_logits\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["loss.d._target_=my_losses_for_test.plus"]
    with pytest.raises(UserError, match="extensions="):
        check(compose(*words))
    assert check(compose("extensions=[my_losses_for_test]", *words)).loss.d["_partial_"] is True


def test_an_extra_configuration_directory_adds_options(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(
        "d: {_target_: gan_lab.losses.hinge_d, _partial_: true}\n"
        "g: {_target_: gan_lab.losses.hinge_g, _partial_: true}\n"
    )
    with pytest.raises(UserError, match="loss=mine"):
        compose("loss=mine")
    assert compose("loss=mine", config_path=str(tmp_path)).loss.d._target_.endswith("hinge_d")


def test_a_group_of_ones_own_is_added_with_a_plus(tmp_path):
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "long.yaml").write_text("# @package _global_\ntrainer: {total_steps: 77777}\n")
    assert compose("+plan=long", config_path=str(tmp_path)).trainer.total_steps == 77777
    with pytest.raises(UserError, match="unknown key 'plan'"):
        compose("+plan=long")


def test_one_extension_needs_no_brackets():
    assert list(compose("extensions=my.module_1").extensions) == ["my.module_1"]
    assert list(compose("extensions=[a,b]").extensions) == ["a", "b"]
    assert compose("extensions=[]").extensions == []


def test_the_jobs_of_a_sweep():
    jobs = list(sweep_jobs(["norm=sn,bssn", "seed=range(2)", "name=x"]))
    assert jobs == [
        ["norm=sn", "seed=0", "name=x"], ["norm=sn", "seed=1", "name=x"],
        ["norm=bssn", "seed=0", "name=x"], ["norm=bssn", "seed=1", "name=x"],
    ]  # fmt: skip


def test_arguments_are_split_as_hydra_would():
    words = ["norm=sn", "-m", "--config-dir", "mine", "seed=1", "--cfg=job", "-c", "job"]
    flags = ["-m", "--config-dir", "mine", "--cfg=job", "-c", "job"]
    assert cli.split_arguments(words) == (["norm=sn", "seed=1"], flags, "mine")


def test_long_job_names_are_shortened_and_stay_apart():
    a, b = (config._job_name("x=" + "1," * 300 + end) for end in "ab")
    assert a != b and len(a) <= 120 and "/" not in config._job_name("dataset.path=/a/b")
    wide = config._job_name("dataset.path=" + "\u5199\u771f" * 100)
    assert len(wide.encode()) <= 120 and "\u5199\u771f" in wide


@pytest.mark.parametrize("same", ["norm=sn,seed=1", "optimizer.d.lr=1e-05,+x=-2", "a_b=0.5"])
def test_names_of_plain_values_stay_as_they_are(same):
    assert config._job_name(same) == same


FOLDERS = [
    ["path=/a/b", "path=/a_b", "path=_a_b", "path= a b", "path='a_b'", "path=a//b", "path=a\\b", "path=a:b"],
    ["n=[r1,gp]", "n=(r1,gp)", "n={r1,gp}", "n=_r1,gp_"],
    ["n=Abc", "n=abc", "n=ABC", "n=aBC"],
    ["n=\u00e9", "n=e\u0301", "n=\u00c9", "n=e"],
    ["n=ss", "n=\u00df", "n=\u1e9e", "n=SS"],
    ["n=" + "x" * 200, "n=" + "x" * 201, "n=" + "x" * 118, "n=" + "x" * 119],
    ["n=\u200b", "n=", "n= ", "n=\t", "n=\udcff"],
]


@pytest.mark.parametrize("values", FOLDERS, ids=lambda values: values[0][:12])
def test_folders_of_different_jobs_are_apart_on_every_file_system(values):
    """Also where case does not count and letters are normalized, as on macOS."""
    names = [config._job_name(value) for value in values]
    for form in ("NFC", "NFD", "NFKC"):
        assert len({unicodedata.normalize(form, name).casefold() for name in names}) == len(values)
    assert not any(re.search(r"[/\\:\s'\"]", name) or name in ("", ".", "..") for name in names)


@pytest.mark.slow
def test_help_and_composition_do_not_import_torch():
    for arguments in (["--help"], ["--cfg", "job"]):
        code = (
            "import sys; sys.argv=['train.py', *sys.argv[1:]]\nfrom gan_lab.cli.train import train_command\n"
            "try:\n    train_command(sys.argv[1:])\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "generator" in done.stdout


def test_inner_nodes_take_the_facts_of_the_run(tiny_data):
    from gan_lab import build

    ramp = "{_target_:gan_lab.schedules.Linear,start:1.0,end:0.0}"
    short = "{_target_:gan_lab.schedules.Linear,start:1.0,end:0.0,over_images:64}"
    x = build(compose(
        f"data_dir={tiny_data}", "metrics=none", "width=0.0625", "trainer.total_steps=10", "trainer.batch_size=16",
        "trainer.n_dis=2", f"optimizer.lr_scale={ramp}", f"ema.halflife_images={short}", "penalty=r1",
        "penalty.r1.weight={_target_:gan_lab.penalties.R1Weight}",
    ))  # fmt: skip
    assert x.schedules.lr_scale(160) == pytest.approx(0.5)  # half of 10 steps * 2 updates * 16 images
    assert x.schedules.ema_halflife_images(32) == pytest.approx(0.5)
    assert x.penalties["r1"].weight(0.0) == pytest.approx(0.0002 * 32**2 / 16)


def test_a_configuration_is_composed_inside_hydra_s_own_and_in_threads(tmp_path):
    (tmp_path / "theirs.yaml").write_text("x: 5\n")
    with initialize_config_dir(version_base="1.3", config_dir=str(tmp_path)):
        assert compose("seed=3").seed == 3
        assert hydra_compose("theirs").x == 5
    with ThreadPoolExecutor(3) as pool:
        assert [cfg.seed for cfg in pool.map(lambda s: compose(f"seed={s}"), range(6))] == list(range(6))
    assert not GlobalHydra.instance().is_initialized()
