"""Which runs are one recipe, and what it is called."""

import pytest

from gan_lab.reporting.recipes import group_runs, name_recipes
from gan_lab.reporting.runs import find_runs, read_run


def grouped(folder):
    return group_runs([read_run(p, p.name) for p in find_runs([folder])])


def labels(folder):
    return [recipe.label for recipe in grouped(folder)[0]]


def test_runs_that_differ_in_the_seed_alone_are_one_recipe_named_by_what_differs(sweep):
    recipes, strays = grouped(sweep)
    assert strays == []
    assert sorted(r.label for r in recipes) == ["norm=bsn", "norm=bssn", "norm=none", "norm=sn", "norm=ssn"]
    assert all(len(r.runs) == 3 for r in recipes)
    by_name = {r.label: r for r in recipes}
    assert set(by_name["norm=sn"].seeds) == {1, 2, 3}
    assert set(by_name["norm=none"].seeds) == {1, 2}  # the third diverged
    assert by_name["norm=none"].statuses() == {"finished": 2, "diverged": 1}


@pytest.mark.parametrize("key", ["name", "run_dir", "data_dir", "resume"])
def test_where_a_run_was_computed_makes_no_recipe(tmp_path, fabricate, key):
    for seed in (1, 2):
        config = fabricate.config(seed=seed, **{key: f"other {seed}"})
        config["trainer"] |= {"device": f"cuda:{seed}", "threads": seed}
        config["tracker"] = {"wandb": {"project": str(seed)}} if seed == 2 else {}
        fabricate.run(tmp_path / str(seed), config, last=100, every=50)
    recipes, _ = grouped(tmp_path)
    assert len(recipes) == 1 and set(recipes[0].seeds) == {1, 2}


def test_paths_make_a_recipe_by_their_last_part(tmp_path, fabricate):
    """Two machines keep the same folder elsewhere; the hash of the images is in the protocol."""
    for i, path in enumerate(("/home/a/photos", "/data/photos", "/data/icons")):
        config = fabricate.config(seed=i)
        config["dataset"] |= {"name": "folder", "path": path}
        fabricate.run(tmp_path / str(i), config, last=100, every=50)
    assert sorted(len(recipe.runs) for recipe in grouped(tmp_path)[0]) == [1, 2]


def test_any_other_setting_does(tmp_path, fabricate):
    for i, lr in enumerate((1e-4, 2e-4)):
        config = fabricate.config(seed=i)
        config["optimizer"]["d"]["lr"] = lr
        fabricate.run(tmp_path / str(i), config, last=100, every=50)
    assert labels(tmp_path) == ["optimizer.d.lr=0.0001", "optimizer.d.lr=0.0002"]


def test_without_overrides_an_option_of_conf_is_recognized(tmp_path, fabricate):
    for norm in ("none", "sn", "bssn"):
        fabricate.run(tmp_path / norm, fabricate.config(norm), last=100, every=50)
    assert sorted(labels(tmp_path)) == ["norm=bssn", "norm=none", "norm=sn"]


def test_an_option_with_a_setting_changed_says_so(tmp_path, fabricate):
    for i, (norm, scale) in enumerate([("sn", 1.0), ("bssn", 1.4), ("bssn", 0.8)]):
        config = fabricate.config(norm)
        config["norm"]["scale"] = scale
        fabricate.run(tmp_path / str(i), config, last=100, every=50)
    found = labels(tmp_path)
    assert found[:2] == ["norm=sn", "norm=bssn"]
    # Between bsn (scale 1.0) and bssn (1.4) a scale of 0.8 is told as one of them with its scale.
    assert found[2] in ("norm=bsn norm.scale=0.8", "norm=bssn norm.scale=0.8")


def test_scales_of_one_option_are_told_by_the_scale_alone(tmp_path, fabricate):
    for scale in (0.8, 1.2, 1.6):
        config = fabricate.config("bssn")
        config["norm"]["scale"] = scale
        fabricate.run(tmp_path / str(scale), config, last=100, every=50)
    assert [label.split()[-1] for label in labels(tmp_path)] == ["norm.scale=0.8", "norm.scale=1.2", "norm.scale=1.6"]


def test_penalties_are_named_by_their_keys():
    configs = [{"penalty": {}}, {"penalty": {"r1": {"weight": 1.0}}}, {"penalty": {"r1": {}, "lecam": {}}}]
    assert name_recipes(configs, [None] * 3) == ["penalty=none", "penalty=r1", "penalty=r1+lecam"]


def test_penalties_of_one_name_are_told_by_what_differs(tmp_path, fabricate):
    for i, weight in enumerate((None, 1.0, 10.0)):
        node = {} if weight is None else {"r1": {"_target_": "gan_lab.penalties.GradientPenalty", "weight": weight}}
        fabricate.run(tmp_path / str(i), fabricate.config(penalty=node), last=100, every=50)
    assert labels(tmp_path) == [
        "penalty=none", "penalty=r1 penalty.r1.weight=1", "penalty=r1 penalty.r1.weight=10"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("norm=none", "norm=bssn"), ("norm=sn", "norm=bssn"), ("trainer.batch_size=128", "norm=bssn"),
     ("norm=bssn", "given=1 norm=bssn"), ("norm.scale=1.40", "given=1 norm.scale=1.40")],
)  # fmt: skip
def test_words_of_a_refused_command_name_no_recipe(tmp_path, fabricate, wrong, right):
    fabricate.run(tmp_path / "a", fabricate.config("bssn"), overrides=["+given=1", wrong], last=100, every=50)
    fabricate.run(tmp_path / "b", fabricate.config("bsn"), overrides=["norm=bsn"], last=100, every=50)
    found = labels(tmp_path)
    assert sorted(found[0].split()) == sorted(right.split()) and found[1] == "norm=bsn"


def test_a_job_does_not_join_the_recipe_of_a_refused_command(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config("bssn"), overrides=["norm=none", "seed=0"], last=100, every=50)
    (tmp_path / "b" / ".hydra").mkdir(parents=True)
    (tmp_path / "b" / ".hydra" / "overrides.yaml").write_text("- norm=none\n- seed=3\n")
    (recipe,), strays = grouped(tmp_path)
    assert [run.name for run in strays] == ["b"] and len(recipe.runs) == 1


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("key", ["checkpoint_every_steps", "eval_every_steps", "log_every_steps", "monitor"])
def test_what_only_watches_makes_no_recipe_unless_a_collapse_ends_the_run(tmp_path, fabricate, key, stops):
    for seed in (1, 2):
        config = fabricate.config(seed=seed, stop_on_collapse=stops)
        if key == "monitor":
            config["monitor"] = {"level": "light", "every_steps": 100 * seed}
        else:
            config["trainer"][key] = 100 * seed
        word = f"monitor.every_steps={100 * seed}" if key == "monitor" else f"trainer.{key}={100 * seed}"
        given = [word, "stop_on_collapse=true"] if stops else [word]
        fabricate.run(tmp_path / str(seed), config, overrides=given, last=100, every=50)
    found = [label for label in labels(tmp_path)]
    assert len(found) == (2 if stops else 1) and len(set(found)) == len(found)


def test_overrides_that_all_have_are_not_told_and_one_without_is_the_default():
    configs = [{"a": 1}, {"a": 2}]
    given = [{"loss": "hinge"}, {"loss": "hinge", "a": "2"}]
    assert name_recipes(configs, given) == ["default", "a=2"]


def test_equal_overrides_of_unequal_settings_fall_back_to_the_settings():
    assert name_recipes([{"a": 1}, {"a": 2}], [{"norm": "sn"}] * 2) == ["a=1", "a=2"]


def test_a_single_recipe_has_its_command_without_paths_or_its_own_name():
    given = {"dataset.path": "/home/me/icons.zip", "norm": "sn"}
    assert name_recipes([{"recipe": "dcgan"}], [given]) == ["norm=sn"]
    assert name_recipes([{"recipe": "dcgan"}], [{"loss": "x" * 100}]) == ["dcgan"]
    assert name_recipes([{"recipe": None}], [None]) == ["the recipe"]


def test_labels_are_never_equal():
    long = "x" * 200
    found = name_recipes([{"a": long + "1"}, {"a": long + "2"}], [None, None])
    assert len(set(found)) == 2 and all(len(label) < 110 for label in found)


def test_two_runs_of_one_seed_count_once_and_a_warning_says_which(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config(seed=1), last=100, every=50, status=None)
    fabricate.run(tmp_path / "b", fabricate.config(seed=1), last=100, every=50)
    fabricate.run(tmp_path / "c", fabricate.config(seed=2), last=100, every=50)
    (recipe,), _ = grouped(tmp_path)
    assert recipe.seeds[1].name == "b" and len(recipe.seeds) == 2
    assert "a and b have one seed, 1" in recipe.warnings[0]


def test_a_job_that_never_started_is_counted_with_its_recipe(tmp_path, fabricate):
    for seed in (1, 2):
        fabricate.run(tmp_path / str(seed), fabricate.config(seed=seed), overrides=["norm=sn", f"seed={seed}"],
                      last=100, every=50)  # fmt: skip
    for name, word in [("3", "norm=sn"), ("4", "norm=bsn")]:
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text(f"- {word}\n- seed=3\n")
    (recipe,), strays = grouped(tmp_path)
    assert recipe.statuses() == {"finished": 2, "not started": 1}
    assert [run.name for run in strays] == ["4"]


def test_a_collapse_noticed_in_a_finished_run_is_counted(tmp_path, fabricate):
    fabricate.run(tmp_path / "a", fabricate.config(), last=100, every=50,
                  events=[{"step": 50, "kind": "spread", "severity": "collapse"}])  # fmt: skip
    (recipe,), _ = grouped(tmp_path)
    assert recipe.collapse_events() == 1 and recipe.seeds
