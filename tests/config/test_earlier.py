"""Going on with a run's own configuration, and starting another run from it."""

import shutil

import pytest
import yaml
from omegaconf import OmegaConf

from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.config.earlier import with_config_word
from gan_lab.config.options import config_dir
from gan_lab.errors import UserError

WORDS = ("norm=bssn", "norm.scale=1.3", "loss=hinge", "penalty=[r1,lecam]", "optimizer=rmsprop", "seed=5",
         "trainer.total_steps=9", "name=mine", "ema.halflife_images=77", "metrics.best=kid", "dataset=packed",
         "dataset.path=images")  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a run that has odd characters, and its config.yaml as it is written."""
    folder = tmp_path_factory.mktemp("runs") / "it's a=b, (1) #2 [é]"
    folder.mkdir()
    tree = check(compose(*WORDS)).tree()
    (folder / "config.yaml").write_text(yaml.safe_dump({**tree, "run_dir": None}, sort_keys=False))
    return folder, tree


@pytest.mark.parametrize("form", ["run={}", "run={}/", "run={}/config.yaml", "config={}", "config={}/config.yaml"])
def test_the_configuration_is_the_runs_own(written, form):
    folder, tree = written
    found = check(compose(form.format(folder))).tree()
    goes_on = form.startswith("run=")
    assert found == {**tree, "run_dir": str(folder) if goes_on else None}


@pytest.mark.parametrize("load", [yaml.safe_load, lambda text: OmegaConf.create(text)])
def test_a_written_configuration_can_be_checked_as_it_is(written, load):
    folder, tree = written
    text = (folder / "config.yaml").read_text()
    assert check(load(text)).tree() == tree
    old = load(text)
    for key in ("resume", "run_dir"):  # an earlier version left these out
        old.pop(key)
    old["trainer"].pop("keep_every_steps")
    assert check(old).tree() == tree
    old["trainer"] = {"_target_": "x"}
    with pytest.raises(UserError, match=r"trainer\.total_steps is missing"):
        check(old)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["trainer.total_steps=50000"], {"trainer.total_steps": 50000}),
        (["trainer.total_steps=5e4"], None),
        (["metrics=none"], {"metrics": None}),
        (["metrics=quick"], {"metrics._target_": "gan_lab.metrics.inception_evaluator"}),
        (["norm=sn"], {"norm.bidirectional": False, "norm.scale": 1.0}),
        (["penalty=r2"], {"penalty.lecam": None, "penalty.r1": None, "penalty.r2.interval": 16}),
        (["optimizer=adam"], {"optimizer.g._target_": "torch.optim.Adam", "optimizer.g.alpha": None}),
        (["+penalty.r1.side=g", "resume=force"], {"penalty.r1.side": "g", "resume": "force"}),
        (["setting=a"], {"trainer.n_dis": 5, "optimizer.g.lr": 1e-4}),
        (["dataset.path=elsewhere"], {"dataset.path": "elsewhere", "dataset.name": "packed"}),
    ],
    ids=str,
)
def test_words_are_applied_on_top(written, words, changed):
    folder, tree = written
    if changed is None:  # either is read as a whole number, or refused by its key
        try:
            assert compose(f"run={folder}", *words).trainer.total_steps == 50000
        except UserError as error:
            assert "trainer.total_steps" in str(error)
        return
    found = compose(f"config={folder}", *words)
    for key, value in changed.items():
        assert OmegaConf.select(found, key) == value, key
    assert (found.seed, found.ema.halflife_images, found.recipe) == (5, 77, tree["recipe"])
    if "norm" not in words[0]:
        assert (found.norm.scale, found.norm.bidirectional) == (1.3, True)
    if "penalty" not in words[0]:
        assert set(found.penalty) == {"r1", "lecam"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run={}", "name=other"], "name=other: run="),
        (["run={}", "hydra.run.dir=x"], "leave one of them out"),
        (["run={}", "config={}"], "give one run= or config="),
        (["run={}", "recipe=ssn"], "recipe= chooses a configuration of its own"),
        (["config={}", "dataset=cifar10"], "dataset= chooses a configuration of its own"),
        (["run={}", "trainer.total_step=3"], "did you mean 'trainer.total_steps'"),
        (["run={}", "penalty.gp.weight=3"], "penalty.gp"),
        (["run={}", "norm=bns"], "did you mean 'bsn'"),
        (["run={}/absent"], "there is no"),
        (["run={}/.."], "it holds several runs, one is run="),
        (["run="], "a path is missing"),
        (["config=" + str(config_dir() / "config.yaml")], "is not the configuration of a run"),
        (["config=" + str(config_dir() / "norm" / "sn.yaml")], "is not the configuration of a run"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_cannot_be_composed_is_told_in_one_sentence(written, words, said):
    with pytest.raises(UserError) as told:
        compose(*(word.replace("{}", str(written[0])) for word in words))
    assert said in str(told.value) and "\n" not in str(told.value)


def test_a_file_with_an_unknown_key_or_without_yaml_is_refused(tmp_path, written):
    file = tmp_path / "config.yaml"
    for text, said in (("a: [", "cannot be read"), ((written[0] / "config.yaml").read_text() + "mine: 1\n", "'mine'")):
        file.write_text(text)
        with pytest.raises(UserError, match=said):
            compose(f"config={file}")


def test_a_file_of_someone_elses_runs_no_code_and_reads_no_secret(tmp_path, written, monkeypatch):
    monkeypatch.setenv("MY_SECRET", "s3cr3t")
    file, text = tmp_path / "config.yaml", (written[0] / "config.yaml").read_text()
    assert "extensions: []\n" in text and "recipe: null\n" in text
    own = text.replace("extensions: []\n", "extensions: [os]\n")
    cases = [(own, r"if you trust it, repeat with extensions=\[os\]")]
    for asked in ("${oc.env:MY_SECRET}", "${oc.${x}:MY_SECRET}", "a ${oc.decode:b}"):
        cases.append((text.replace("recipe: null\n", f"recipe: '{asked}'\n"), "recipe, such as a variable of the env"))
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)]
    cases.append((text + "\n".join(lines), "holds more than 100,000 values"))
    for changed, said in cases:
        file.write_text(changed)
        for form in (f"config={file}", f"run={tmp_path}"):
            with pytest.raises(UserError, match=said):
                compose(form)
    file.write_text(own)
    assert compose(f"config={file}", "extensions=[os]").extensions == ["os"]
    assert compose(f"config={file}", "extensions=[]").extensions == []
    file.write_text(text.replace("recipe: null\n", "recipe: '${name}'\n"))  # another setting
    assert compose(f"config={file}", "name=x").recipe == "x"


def test_the_name_of_a_run_alone_goes_on_with_it_and_with_other_words_it_does_not(tmp_path, written, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert compose("name=mine").seed == 0
    shutil.copytree(written[0], tmp_path / "runs" / "mine")
    found = compose("name=mine")
    assert (found.seed, found.norm.scale, found.run_dir) == (5, 1.3, "runs/mine")
    assert compose("name=mine", "trainer.n_dis=1").seed == 0 and compose("name=other").seed == 0


@pytest.mark.parametrize(
    "flags",
    ["--config-path {} --config-name config", "-cp {} -cn config.yaml", "--config-path={} --config-name=config",
     "--config-dir {} --config-name config", "-cp {}", "-cd={} -cn=config"],
)  # fmt: skip
def test_hydras_flags_that_name_a_runs_configuration_start_from_it(written, flags):
    folder = str(written[0])
    arguments = [part.replace("{}", folder) for part in flags.split()]
    found = with_config_word([*arguments, "seed=1"])
    assert found[-1] == f"config={folder}/config.yaml" and "seed=1" in found
    assert not any("-cn" in word or "name" in word or "path" in word for word in found[:-1])


@pytest.mark.parametrize("arguments", [["--config-dir", "x", "norm=sn"], ["-cn", "config"], ["-m", "seed=1,2"], []])
def test_hydras_other_flags_stay(arguments):
    assert with_config_word(arguments) == arguments
