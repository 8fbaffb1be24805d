"""Hostile command lines: the fuzzer's inputs, and by name what it, or reading, has found."""

from __future__ import annotations

import copy
import shutil
import sys
import types
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_lab.cli import evaluate, report, sample
from gan_lab.cli.options import parse
from gan_lab.config.check import check_ranges
from gan_lab.config.compose import parse_overrides
from gan_lab.config.targets import check_nodes, locate
from gan_lab.errors import UserError
from tests.hostile import hostile_overrides
from tests.hostile.hostile_overrides import DANGEROUS, compose_and_check
from tests.hostile.hostile_sandbox import Make, sentence_faults

HOSTILE_NAMES = [
    "../x", "/tmp/x", "a/b", "a/../../b", "..", ".", ".hidden", "", " ", "a b", "a\\x", "C:x", "-x", "\u00e9",
    "\u202ex", "\u0660", "a\n", "a\0", "~", "$HOME", "\U0001f4a5", "n" * 101, "n" * 300,
]  # fmt: skip

Refused = Callable[[Callable[[], object]], str]


@pytest.mark.parametrize("seed", range(5))
def test_command_lines(keeps_the_contract: Callable[[Make, int], None], seed: int) -> None:
    keeps_the_contract(hostile_overrides.make, seed)


def test_the_verification_of_command_lines_finds_a_stray_target(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = copy.deepcopy(default())
    assert hostile_overrides.stray_target(tree) is None
    tree["generator"] = {"_target_": "tests.hostile.hostile_overrides.words"}
    tree["extensions"] = ["tests.hostile.hostile_overrides"]
    assert hostile_overrides.stray_target(tree) is None  # the user's own
    tree["extensions"] = ["tests.hostile"]  # under which the module's own name begins, too
    monkeypatch.setattr(hostile_overrides.words, "__module__", "os")
    assert "which is defined in os." in (hostile_overrides.stray_target(tree) or "")


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_a_sentence(text: str) -> None:
    for read in (
        lambda: parse_overrides([text]),
        lambda: parse(sample.Options, [text]),
        lambda: parse(sample.Options, [f"run={text}", f"n={text}"]),
        lambda: parse(evaluate.Options, [f"metrics.{text}"]),
        lambda: parse(report.Options, [text]),
    ):
        try:
            read()
        except UserError as error:
            assert not sentence_faults(str(error))


def refused_name(name: str) -> bool:
    """Whether the rules refuse it as a run's name; the rest of the configuration is the default."""
    tree = copy.deepcopy(default())
    tree["name"] = name
    try:
        check_ranges(tree)
    except UserError as error:
        assert str(error).startswith("name=") and not sentence_faults(str(error))
        return True
    return False


@cache
def default() -> dict[str, Any]:
    return compose_and_check([])


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.text(max_size=120) | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._=,+-]{0,110}", fullmatch=True))
def test_a_run_name_is_one_plain_folder_or_refused(name: str) -> None:
    ordinary = name.isascii() and all(c.isalnum() or c in "._=,+-" for c in name)
    assert refused_name(name) != (ordinary and 0 < len(name) <= 100 and name[0].isalnum())


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_run_names_that_are_refused(name: str) -> None:
    assert refused_name(name)


@pytest.mark.parametrize("target", sorted(set(DANGEROUS) - {"torch.optim.Adam", "torch.nn.Identity"}))
def test_dangerous_targets_are_refused(target: str, refused: Refused) -> None:
    node = {"generator": {"_target_": target}}
    assert "generator" in refused(lambda: check_nodes(node))


def test_a_dangerous_target_is_found_inside_lists() -> None:
    for node in (
        [[{"_target_": "os.system"}]],
        ({"_target_": "os.system"},),
        {"a": [{"b": {"_target_": "os.system"}}]},
    ):
        with pytest.raises(UserError, match="os.system"):
            check_nodes({"x": node})


def test_what_an_allowed_module_imports_for_itself_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("copies")
    module.rmtree_of_mine = shutil.rmtree  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "copies", module)
    with pytest.raises(UserError, match="is defined in shutil"):
        locate("copies.rmtree_of_mine", "generator", prefixes=("copies.",))
    assert locate("copies.rmtree_of_mine", "generator", ("copies",)) is shutil.rmtree
    with pytest.raises(UserError, match="is defined in pathlib"):
        locate("gan_lab.data.store.Path", "dataset")
    for helper in (
        "gan_lab.data.sources.resolve_path", "gan_lab.data.pack", "gan_lab.data.PackedStore",
        "gan_lab.metrics.reference.write_tensors", "gan_lab.runs.trackers._imported", "gan_lab.runs.trackers._remember",
        "gan_lab.metrics.evaluator.Evaluator", "gan_lab.losses.by_name", "torch.nn.utils.clip_grad_norm_",
        "torch.optim.lr_scheduler.LambdaLR",
    ):  # fmt: skip
        with pytest.raises(UserError, match="one of the parts of|is defined in"):
            locate(helper, "x")
    for mine in (
        "gan_lab.nets.SNGANGenerator",
        "gan_lab.nets.sngan.SNGANGenerator",
        "gan_lab.data.load",
        "gan_lab.metrics.classifier_evaluator",
        "torch.optim.Adam",
        "torch.nn.Linear",
        "torch.nn.functional.leaky_relu",
    ):
        assert callable(locate(mine, "x"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        # resolved once it is a text; resolved again, by `instantiate`, it would be a node that runs a command
        ([r"generator.activation_norm='\${oc.create:{_target_:os.system,command:id}}'"], "generator.activation_norm"),
        (["+hydra.callbacks.x._target_=os.system"], "hydra.callbacks.x._target_"),
        (["+hydra.callbacks.x='${oc.create:{_target_:os.system}}'"], "os.system"),
        (["hydra.launcher._target_=subprocess.Popen"], "hydra.launcher._target_"),
        (["hydra.job_logging.handlers.console.class=subprocess.Popen"], "hydra.job_logging.handlers.console.class"),
        (["hydra.launcher._target_=hydra._internal.core_plugins.basic_launcher.Path"], "is defined in pathlib"),
        (["extensions=['']"], "extensions: ''"),
        (["extensions=[.os]"], "extensions"),
        (["extensions=${resume}"], "must be a list of modules"),
        (["extensions=${oc.dict.values:trainer}"], "is not the name of a module"),
        ([r"extensions='\${x}'"], "must be a list of modules"),
        (["generator.width=" + "[" * 1500 + "]" * 1500], "nested too deeply"),
        (["penalty.r1r2.weight=" + "9" * 400], "penalty.r1r2.weight"),
        (["generator.width=" + "9" * 400], "must be a finite number"),
        (["seed=" + "9" * 5000], "seed="),
        (["norm=range(1,1000000000)"], "norm=1"),
        (["norm=glob(*)"], "bad configuration"),
        (["+norm=interval(0,1)"], "bad configuration"),
        (["generator._target_=torch.nn.functional.conv2d"], "conv2d"),
        (["trainer=${generator}"], "is missing"),
        (["optimizer.g=${trainer.batch_size}"], "optimizer.g has no _target_"),
        (["~trainer"], "'trainer' cannot be removed"),
        (["~trainer.total_steps"], "'trainer.total_steps' cannot be removed"),
        (["~optimizer.g.lr"], "optimizer.g.lr is missing"),
        (["run_dir=${hydra.runtime.output_dir}"], "bad configuration"),
        (["hydra.run.dir=${run_dir}", "run_dir=${hydra.run.dir}"], "bad configuration"),
        (["hydra/sweeper=8"], "bad configuration"),
        (["name=${name}"], "bad configuration"),
        (["k" * 300 + "=1"], "unknown key"),
    ],
    ids=lambda x: str(x)[:50],
)  # fmt: skip
def test_found_by_fuzzing(words: list[str], says: str, refused: Refused) -> None:
    assert says in refused(lambda: compose_and_check(words))


@pytest.mark.parametrize(
    "words",
    [["hydra/launcher=basic"], ["+hydra.callbacks.x._target_=hydra.experimental.callbacks.LogJobReturnCallback"],
     ["hydra/job_logging=stdout"], ["~generator.z_dim"], ["name='a+b=c,d.e-f_g'"]],
)  # fmt: skip
def test_what_must_stay_allowed(words: list[str]) -> None:
    assert compose_and_check(words)["seed"] == 0
