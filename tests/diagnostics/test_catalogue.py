"""The catalogue describes what runs write, all of it, and nothing else."""

import math
from pathlib import Path

import pytest

import gan_lab
from gan_lab.diagnostics.catalogue import CATALOGUE, Diagnostic, find, from_json, panels, to_json
from gan_lab.runs.files import read_rows
from scripts.docs.diagnostics import with_table

ROOT = Path(__file__).resolve().parents[2]
STYLES = ["generator=stylegan2", "discriminator=stylegan2", "generator.mapping_layers=1", "generator.w_dim=16",
          "width=0.03"]  # fmt: skip
RUNS = {
    "default": ("light", ["metrics=shapes", "metrics.num_samples=20", "metrics.kid=false",
                          "metrics.precision_recall=false"]),
    "off": ("off", ["norm=sn", "penalty=[gp,lecam]"]),
    "bssn": ("full", ["norm=bssn", "loss=hinge", "penalty=none", "augment=ada", "trainer.n_dis=2"]),
    "batch norm": ("full", ["augment=apa", "discriminator=dcgan", "generator=dcgan", "norm=none", "loss=minimax"]),
    "path length": ("light", [*STYLES, "penalty=[r1,path_length]", "penalty.path_length.interval=1"]),
    "styles": ("full", [*STYLES, "penalty=r1"]),
}  # fmt: skip
ROW = {"step", "images_seen", "wall_seconds"}
KNOWN_AT = {"off": {"all"}, "light": {"all", "light"}, "full": {"all", "light", "full"}}


@pytest.fixture(scope="module")
def runs(tiny_data, tmp_path_factory):
    """Recipe -> rows of train.jsonl: steps 1 and 3 without diagnostics, 2 and 4 with."""
    small = (f"data_dir={tiny_data}", "trainer.total_steps=4", "trainer.batch_size=4", "trainer.log_every_steps=1",
             "trainer.device=cpu", "trainer.sample_every_steps=0", "monitor.every_steps=2")  # fmt: skip
    found = {}
    for name, (level, words) in RUNS.items():
        defaults = [w for w in ("width=0.0625", "metrics=none") if not any(o.startswith(w[:6]) for o in words)]
        folder = tmp_path_factory.mktemp("run") / "run"
        words = [*small, *defaults, f"monitor={level}", *words, f"hydra.run.dir={folder}"]
        found[name] = read_rows(gan_lab.train(gan_lab.compose(*words)) / "train.jsonl")
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", RUNS)
def test_each_key_has_one_entry_which_says_when_it_is_written_and_in_what_range(runs, name):
    for row in runs[name]:
        level = RUNS[name][0] if row["step"] % 2 == 0 else "off"
        for key in row.keys() - ROW:
            (entry,) = [d for d in CATALOGUE if d.matches(key)]
            assert find(key) is entry and entry.when in KNOWN_AT[level], key
            low, high = entry.limits or (None, None)
            assert (low is None or row[key] >= low - 1e-6) and (high is None or row[key] <= high + 1e-6), key
    present = {key for row in runs[name] for key in row}
    always = {"loss/d", "loss/g", "logits/real_std", "grad_norm/g", "lr/d", "skipped_updates", "images_per_second"}
    assert len(runs[name]) == 4 and always <= present


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_entry_is_written_by_some_run_or_computed_by_the_report(runs):
    present = {key for rows in runs.values() for row in rows for key in row}
    unused = [d for d in CATALOGUE if not any(map(d.matches, present))]
    assert [d.key for d in unused] == [d.key for d in CATALOGUE if d.when == "report"] == ["logits/gap"]


def test_the_document_has_the_table_of_the_catalogue():
    document = (ROOT / "docs" / "stability.md").read_text()
    assert with_table(document) == document
    assert all(d.key.replace("{", "<").replace("}", ">") in document for d in CATALOGUE)
    written = with_table("Before.\n<!-- diagnostics: begin -->\nold\n<!-- diagnostics: end -->\nAfter.\n")
    assert written.startswith("Before.\n<!--") and written.endswith("-->\nAfter.\n") and "old" not in written
    assert written.count("\n| `") == len(CATALOGUE)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("loss/{net}", ["loss/d", "loss/g"], ["loss/x", "loss/dg", "xloss/d", "loss/"]),
        ("grad/raw/{layer}", ["grad/raw/joint.0", "grad/raw/a/b"], ["grad/raw/joint", "grad/raw/", "gradXraw/a"]),
        ("a.b", ["a.b"], ["aXb", "a.bc"]),
        ("{odd}", ["{odd}"], ["odd"]),
    ],
)
def test_a_family_matches_its_keys(pattern, yes, no):
    diagnostic = Diagnostic(pattern, "")
    assert all(map(diagnostic.matches, yes)) and not any(map(diagnostic.matches, no))


def test_references_stand_beside_an_entry_of_their_own_chart():
    for section, charts in panels().items():
        for title, shown in charts.items():
            assert {d.title for d in shown} == {title} and {d.section for d in shown} == {section}
            keys = {d.key for d in shown if not d.beside}
            assert keys and {d.beside for d in shown if d.beside} <= keys


def test_entries_of_ones_own_join_a_chart_or_get_one_and_survive_a_file():
    mine = [Diagnostic("mine/{layer}", "x", "Gradient norms"), Diagnostic("ours/y", "y", limits=(0, math.inf))]
    charts = panels(mine)
    assert mine[0] in charts["Gradients"]["Gradient norms"] and charts["Other"]["ours/y"] == mine[1:]
    assert find("ours/y") is None and find("ours/y", mine) is mine[1] and mine[1].limits == (0, None)
    assert from_json(to_json(mine)) == mine
    assert from_json([{"key": "a", "formula": "b", "of a later version": 1}]) == [Diagnostic("a", "b")]


@pytest.mark.parametrize(
    "content",
    [1, [1], [{}], [{"key": "a"}], [{"key": 1, "formula": ""}], [{"key": "", "formula": ""}],
     [{"key": "a", "formula": None}], [{"key": "a", "formula": "", "when": "often"}],
     [{"key": "a", "formula": "", "limits": [1]}], [{"key": "a", "formula": "", "limits": "ab"}],
     [{"key": "a", "formula": "", "limits": [True, "x"]}], [{"key": "a", "formula": "", "log": "yes"}]],
)  # fmt: skip
def test_what_is_no_description_is_a_value_error(content):
    with pytest.raises(ValueError, match=r"diagnostic|limits|when|log"):
        from_json(content)
