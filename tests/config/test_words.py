"""Words are taken as typed: text and paths of any signs, whole numbers of any spelling; and what is then trained."""

import os
import subprocess
import sys

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from gan_lab.cli.train import train_command
from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.config.options import config_dir
from gan_lab.config.schema import PATH_KEYS, TEXT_KEYS, WHOLE_KEYS, Config, leaf_settings
from gan_lab.config.targets import hints_of, locate
from gan_lab.config.words import as_typed, quoted
from gan_lab.sweep.jobs import sweep_jobs

NAMES = [
    "a b", " a", "b ", "a'b", 'a"b', "it's", "'a", 'a"', "a,b", "[a]", "a]", "(1)", "a (1)", "{a}", "a}", "a$", "$1",
    "a%20b", "100%", "a\\b", "a\\", "\\'", "\U0001f600 photos", "фото", "a=", "a=b", "=a", "a#b", "a&b", "a;b", "a|b",
    "a:b", "*", "?", "!", "@", "~a~", "2024_11_28", "12345_3", "1e5", "1.50", "0x10", "007", "-1", "1_000", "true",
    "on", "No", "nan", "inf", "none", "None", "a\tb", "range(3)", "choice(a,b)", "a\nb", "[a,b]", "{a:b}", "+a", "...",
]  # fmt: skip


@pytest.fixture
def value_of():
    """`value_of(key, text)`: what a checked configuration has where `key=text` was typed."""

    def read(word):
        (word,) = as_typed([word])
        return OverridesParser.create().parse_overrides([word])[0].value()

    return read


@pytest.mark.parametrize("text", NAMES)
@pytest.mark.parametrize("key", ["name", "dataset.path", "data_dir", "hydra.run.dir", "+metrics.weights"])
def test_text_is_taken_as_typed(text, key, value_of):
    expected = text if key == "name" else os.path.expanduser(text)
    assert value_of(f"{key}={text}") == expected


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12).filter(lambda t: "${" not in t))
def test_quoting_is_undone_by_hydra_and_repeating_it_changes_nothing(text):
    word = f"k={quoted(text)}"
    assert OverridesParser.create().parse_overrides([word])[0].value() == text
    once = as_typed([f"name={text}", f"dataset.path={text}", f"seed={text}"])
    assert as_typed(once) == once


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("name=", ""), ("name=null", None), ("name=NULL", None), ("name='a b'", "a b"), ('name="a,b"', "a,b"),
        (r"name='it\'s'", "it's"), ("name='a' b", "'a' b"), ("dataset.path='null'", "null"),
        ("dataset.path=~", os.path.expanduser("~")), ("dataset.path=~/a b", os.path.expanduser("~/a b")),
        ("dataset.path='~/a b'", os.path.expanduser("~/a b")), ("dataset.path=a/~", "a/~"),
        ("dataset.path=$GAN_LAB_TEST/x", "/some where/x"), ("dataset.path=${GAN_LAB_TEST}/x", "/some where/x"),
        ("dataset.path=$NO_SUCH_VARIABLE/x", "$NO_SUCH_VARIABLE/x"), ("name=$GAN_LAB_TEST", "$GAN_LAB_TEST"),
        ("hydra.run.dir=runs/${name}/a b", "runs/${name}/a b"), ("data_dir=${oc.env:HOME}/x", "${oc.env:HOME}/x"),
        ("seed=1e3", 1000), ("trainer.total_steps=1E5", 100_000), ("trainer.n_dis=2.0", 2), ("seed=1_000", 1000),
        ("seed=1.5", 1.5), ("trainer.total_steps=1e400", float("inf")), ("width=1e0", 1.0),
    ],
)  # fmt: skip
def test_values(word, value, value_of, monkeypatch):
    monkeypatch.setenv("GAN_LAB_TEST", "/some where")
    found = value_of(word)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["name=1e5,2_3"], ["name='1e5'", "name='2_3'"]),
        (["dataset.path=a b, c (1)"], ["dataset.path='a b'", "dataset.path='c (1)'"]),
        (["dataset.path='a,b',c"], ["dataset.path='a,b'", "dataset.path=c"]),
        ([r"dataset.path=a\,b,c"], ["dataset.path='a,b'", "dataset.path=c"]),
        (["dataset.path=choice(x y,z)"], ["dataset.path='x y'", "dataset.path=z"]),
        (["trainer.total_steps=1e2,200"], ["trainer.total_steps=100", "trainer.total_steps=200"]),
        (["seed=range(2)"], ["seed=0", "seed=1"]),
        (["hydra.sweep.dir=a,b", "seed=1,2"], ["hydra.sweep.dir='a,b' seed=1", "hydra.sweep.dir='a,b' seed=2"]),
    ],
)
def test_in_a_sweep_commas_separate_values(words, jobs):
    assert [" ".join(job) for job in sweep_jobs(as_typed(words, sweep=True))] == jobs
    for job in jobs:
        assert as_typed([job]) == [job] or " " in job


def test_in_a_sweep_a_path_that_exists_is_one_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats, dogs").mkdir()
    assert as_typed(["dataset.path=cats, dogs"], sweep=True) == ["dataset.path='cats, dogs'"]
    assert as_typed(["dataset.path=cats, birds"], sweep=True) == ["dataset.path=cats,birds"]


def test_the_configuration_has_what_was_typed(monkeypatch):
    monkeypatch.setenv("GAN_LAB_DATA", "~/my data (1)")
    words = ["name=2024_11", "trainer.total_steps=1e5", "metrics.num_samples=1e3", "dataset.path=~/фото {1}"]
    config = check(compose(*words))
    assert (config.name, config.trainer.total_steps) == ("2024_11", 100_000)
    assert config.metrics["num_samples"] == 1000 and type(config.metrics["num_samples"]) is int
    assert config.dataset["path"] == os.path.expanduser("~/фото {1}")
    assert config.data_dir == os.path.expanduser("~/my data (1)")
    assert check(compose("name=null")).name is None
    monkeypatch.setenv("GAN_LAB_DATA", "")
    assert check(compose()).data_dir == "./data"


def test_every_key_of_text_that_a_node_takes_from_outside_is_listed():
    """Of datasets and metrics, whose arguments name files; in other nodes text is a choice of a few words."""
    choices = {"metrics.feature", "metrics.fake_labels"}
    for path in [*(config_dir() / "dataset").glob("*.yaml"), *(config_dir() / "metrics").glob("*.yaml")]:
        tree = yaml.safe_load(path.read_text())
        group = path.parent.name
        node = tree.get(group, tree) or {}
        if "_target_" not in node:
            continue
        hints = hints_of(locate(node["_target_"], group))
        for name in node.keys() & hints.keys():
            key, hint = f"{group}.{name}", str(hints[name])
            assert (key in PATH_KEYS) == ("Path" in hint or name == "weights"), key
            assert key in TEXT_KEYS | choices or "str" not in hint.replace("dict[str, typing.Any]", ""), key
    types = {key: f.type for key, f in leaf_settings()}
    assert {"name", "data_dir", "resume", "trainer.device"} <= TEXT_KEYS and "seed" in WHOLE_KEYS
    assert all(isinstance(getattr(Config(), key, 0), int) for key in WHOLE_KEYS if "." not in key)
    assert {types[key] for key in WHOLE_KEYS} == {"int"}


TINY = ("metrics=none", "trainer.total_steps=1", "trainer.batch_size=4", "width=0.0625", "monitor=off", "penalty=none")


@pytest.mark.long
def test_multirun_over_odd_paths(tmp_path):
    """Two folders whose names Hydra cannot read, one run each; in a process of its own, as Hydra is."""
    import numpy as np
    from PIL import Image

    names = ["it's (1)", "$5 {a} %20 \U0001f600="]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((8, 8, 3), 60 * number + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "in" / name / f"{i}.png")
    folders = ",".join(f"in/{name}" for name in names)
    words = [f"dataset.path={folders}", "dataset=folder", "dataset.resolution=8", "data_dir=packed [1]",
             "hydra.sweep.dir=out, 1", "generator=dcgan", "discriminator=dcgan_plain"]  # fmt: skip
    root = config_dir().parent
    done = subprocess.run(
        [sys.executable, root / "train.py", "-m", *words, *TINY],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    configs = [yaml.safe_load(p.read_text()) for p in (tmp_path / "out, 1").glob("*/config.yaml")]
    assert {c["dataset"]["path"] for c in configs} == {str(tmp_path / "in" / name) for name in names}
    assert len(list((tmp_path / "packed [1]").glob("folder-8-*"))) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out, 1", "packed [1]"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["generator.width=a b)"], ["cannot read 'generator.width=a b)'", "type 'generator.width='\"'\"'a b)'"]),
        (["dataset.path=photos", "(1)"], ["'(1)' is not an override", "'dataset.path=photos (1)'"]),
        (["generator.width=[1"], ["close its brackets"]),
        (["pat=~/photos (1)"], ["unknown key 'pat'", "'dataset.path'"]),
    ],
)
def test_a_word_that_cannot_be_read_is_told_with_the_word_to_type(words, parts, capsys):
    assert train_command(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and all(part in said for part in parts), said
