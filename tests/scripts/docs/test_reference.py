"""The reference pages are what the code says; guides name every event and every exit status."""

import inspect
import re

import pytest
import yaml

from gan_lab import errors
from gan_lab.cli.main import VERBS
from gan_lab.cli.options import declared, option
from gan_lab.config.changes import decides
from gan_lab.config.compose import GROUPS, compose, config_dir, group_options
from gan_lab.config.ranges import whole
from gan_lab.config.schema import leaf_settings
from gan_lab.config.tree import walk
from gan_lab.diagnostics import collapse
from scripts.docs import reference

DOCS = reference.PAGES.parent


@pytest.mark.parametrize("name", ["configuration.md", "commands.md"])
def test_a_page_is_what_the_code_says(name):
    assert (reference.PAGES / name).read_text() == reference.pages()[name], "run python -m scripts.docs.reference"


def rows_of(text):
    """First cell (a key, without its mark) -> the other cells of a page's table rows."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`").removeprefix("+"): [cell.strip() for cell in row[1:]] for row in rows}


def test_every_setting_of_the_schema_has_its_default_range_and_meaning():
    rows = rows_of(reference.configuration())
    own = yaml.safe_load((config_dir() / "config.yaml").read_text())
    for key, f in leaf_settings():
        if key in GROUPS or key.startswith(("loss.", "optimizer.g", "optimizer.d")):
            continue
        kind, default, allowed, meaning = rows[key]
        assert kind and f.metadata["meaning"] in meaning, key
        assert allowed == (f.metadata["range"].text if f.metadata["range"] else ""), key
        assert ("*(fixed)*" in meaning) == (decides(key) == "what is computed"), key
    assert rows["trainer.total_steps"][1] == "`100000`" and rows["trainer.precision"][2] == "fp32, tf32 or bf16"
    assert rows["ema.halflife_images"][1] == f"`{own['ema']['halflife_images']}`"


def test_every_option_and_every_argument_that_a_file_sets_is_there():
    text = reference.configuration()
    rows = rows_of(text)
    for group in GROUPS:
        for name in group_options(group):
            assert f"| `{name}` |" in text or f"### {group}={name}\n" in text, (group, name)
    tree = compose("generator=stylegan2", "norm=bssn", "augment=ada", "penalty=[gp,r1]", "dataset=cifar10")
    keys = [k for k, _ in walk({g: dict(tree[g]) for g in ("generator", "norm", "augment", "metrics")}) if "." in k]
    for key in (*keys, "penalty.NAME.weight"):
        if not key.endswith("_target_") and key.count(".") == 1 and "penalty" not in key:
            assert key in rows, key
    assert rows["norm.scale"][:2] == ["number", "`1.0`"] and rows["norm.bidirectional"][0] == "true or false"


def test_every_key_has_a_meaning():
    for key, cells in rows_of(reference.configuration()).items():
        if len(cells) == 4:
            assert cells[3], f"{key}: say it in the YAML file, the docstring or scripts/docs/reference.py"


def test_every_command_has_its_options():
    text = reference.commands()
    for verb in VERBS:
        section = text.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
        assert section, verb
        if verb == "train":
            continue
        module = __import__(f"gan_lab.cli.{verb.replace('-', '_')}", fromlist=["Options"])
        rows = rows_of(section)
        assert list(rows) == [o.key for o in declared(module.Options)], verb
        for o in declared(module.Options):
            assert rows[o.key][3] == o.meaning.replace("|", "\\|"), (verb, o.key)


def test_a_value_is_shown_as_it_is_typed():
    assert (
        reference._value(None) == "null"
        and reference._value(True) == "true"
        and reference._value((0.5, 0.9)) == "[0.5, 0.9]"
    )
    assert reference._value({"_target_": "a.b.Cosine", "start": 1.0}) == "Cosine(start: 1.0)"
    assert reference._type(int | None) == "whole number or null" and reference._type(list[str]) == "list of text"
    assert option("x", 3, whole(1)).metadata["declared"].meaning == "x"


def test_the_guide_has_advice_for_every_event():
    source = inspect.getsource(collapse.Detector)
    kinds = set(re.findall(r"- `(\w+)`", source)) | set(re.findall(r"`(gradient_exploded)`", source))
    rows = rows_of((DOCS / "guides" / "unstable.md").read_text())
    advice = {key: cells for key, cells in rows.items() if len(cells) == 4}
    assert kinds == set(advice) and len(kinds) == 12
    assert all(all(cells) for cells in advice.values())
    defined = set(re.findall(r"^\| `(\w+)` \| (?:warning|collapse)", (DOCS / "stability.md").read_text(), re.MULTILINE))
    assert defined == kinds


def test_every_exit_status_of_an_error_is_on_the_page():
    text = (DOCS / "reference" / "exit_status.md").read_text()
    listed = {int(n) for n in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    known = {e.exit_status for e in vars(errors).values() if inspect.isclass(e) and issubclass(e, errors.GanLabError)}
    assert known <= listed and {0, 130, 143} <= listed and len(known) == 4
