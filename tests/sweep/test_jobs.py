"""What a sweep's command stands for, before anything runs."""

import functools
import json

import pytest
from hydra.core.config_store import ConfigStore

from gan_lab.cli import train as cli
from gan_lab.config.check import check
from gan_lab.config.compose import compose
from gan_lab.config.options import config_dir
from gan_lab.errors import UserError
from gan_lab.sweep import jobs as sweeps


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        ("norm=sn,bsn,bssn seed=range(5)", 15),
        ("sweep=norms", 15),
        ("sweep=norms seed=range(5)", 25),  # the command line wins over the preset
        ("sweep=norms norm=sn", 3),
        ("sweep=scales", 57),
        ("sweep=settings_a_to_f norm=none,sn seed=0", 12),
        ("sweep=recipes", 30),
    ],
)
def test_the_number_of_jobs(words, jobs):
    planned = sweeps.plan(words.split())
    assert len(planned.jobs) == len({tuple(job) for job in planned.jobs}) == jobs and not planned.search


@pytest.mark.parametrize("words", ["seed=1,1", "optimizer.d.lr=1e-4,0.0001 seed=1", "norm=sn,bsn,sn"])
def test_a_sweep_that_has_a_job_twice_is_refused(words):
    with pytest.raises(UserError, match="one job twice"):
        sweeps.plan(words.split())


@pytest.mark.parametrize(
    ("there", "outcome", "file"),
    [
        ({}, {"status": "finished", "number": 1}, "job.json"),
        ({}, {"status": "refused", "number": 1}, "job.json"),
        ({"sweep": "s", "number": 0, "status": "finished"}, {"status": "finished", "number": 1}, "job-1.json"),
        ({"sweep": "s", "number": 0, "status": "finished"}, {"status": "refused", "number": 2}, "job-2.json"),
        ({"sweep": "old", "number": 0, "status": "finished"}, {"status": "refused", "number": 1}, "job-1.json"),
        ({"sweep": "old", "number": 5, "status": "interrupted"}, {"status": "finished", "number": 1}, "job.json"),
        ({"sweep": "old", "number": 5, "status": "refused"}, {"status": "refused", "number": 1}, "job.json"),
        ({"sweep": "s", "number": 1, "status": "interrupted"}, {"status": "finished", "number": 1}, "job.json"),
    ],
)
def test_a_job_never_writes_over_the_outcome_of_another(tmp_path, there, outcome, file):
    if there:
        (tmp_path / "job.json").write_text(json.dumps(there))
    found = sweeps._outcome_file(sweeps.Outcome(exit_status=0, sweep="s", **outcome), tmp_path)
    assert found == tmp_path / file
    if there.get("sweep") == "s" and there["number"] != outcome["number"]:
        with pytest.raises(UserError, match="is the folder of job 0 of this sweep"):
            sweeps._check_own_folder(tmp_path, outcome["number"], "s")
    else:
        sweeps._check_own_folder(tmp_path, outcome["number"], "s")


@pytest.mark.parametrize(("triples", "said"), [
    ([("a", 0, "finished"), ("b", 1, "interrupted")], "sweep of 4 jobs in {}: 1 finished, 1 interrupted, 2 "
     "not started"),
    ([("a", 0, "finished"), ("a", 1, "refused"), ("c", 2, "failed"), ("d", 3, "finished")],
     "sweep of 4 jobs in {}: 2 finished, 1 refused, 1 failed"),
    ([], "sweep of 4 jobs in {}: 4 not started"),
])  # fmt: skip
def test_the_end_of_a_sweep_counts_every_job_once(tmp_path, monkeypatch, caplog, triples, said):
    """Two jobs in one folder are counted too, and jobs of an earlier sweep are not."""
    caplog.set_level("INFO")
    monkeypatch.setattr(sweeps, "_report", lambda folder: None)
    monkeypatch.setattr(sweeps.signals, "export_identity", lambda: "s")

    def main():
        sweeps.SweepFolder.path = tmp_path
        for name, number, status in [*triples, ("old", 9, "finished")]:
            (tmp_path / name).mkdir(exist_ok=True)
            identity = "s" if number < 9 else "earlier"
            outcome = sweeps.Outcome(status, 0, number=number, sweep=identity)
            content = {k: v for k, v in vars(outcome).items() if k != "name"}
            sweeps._outcome_file(outcome, tmp_path / name).write_text(json.dumps(content))

    assert sweeps.run_sweep(main, 4) == 0
    assert said.format(tmp_path) in caplog.text


@pytest.mark.parametrize(("stated", "wanted"), [(True, -3.0), (False, 3.0), (None, 3.0)])
def test_a_search_minimizes_what_is_better_when_lower_and_the_negative_of_the_rest(tmp_path, stated, wanted):
    summary = {"best": {"metric": "mine"}, "final": {"mine": 3.0}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    if stated is not None:
        (tmp_path / "protocol.json").write_text(json.dumps({"higher_is_better": {"mine": stated}}))
    outcome = sweeps.Outcome("finished", 0)
    assert sweeps._add_objective(outcome, tmp_path) == wanted
    assert (outcome.metric, outcome.value) == ("mine", 3.0)


@functools.cache
def composed(preset, *words):
    """The configurations of a preset's jobs, with one seed."""
    return [compose(*job) for job in sweeps.plan([f"sweep={preset}", "seed=0", *words]).jobs]


@pytest.mark.parametrize("preset", sorted(p.stem for p in (config_dir() / "sweep").glob("*.yaml")))
def test_every_preset_says_its_command_and_how_many_runs_it_is(preset):
    text = (config_dir() / "sweep" / f"{preset}.yaml").read_text()
    assert f"python train.py -m sweep={preset} " in text
    planned = sweeps.plan([f"sweep={preset}"])
    assert planned.search or f"{len(planned.jobs)} runs" in text


@pytest.mark.slow
def test_the_presets_norms_are_those_of_the_papers():
    norms = [check(cfg).norm for cfg in composed("norms")]
    kinds = [(n["bidirectional"], n["scale"]) if "_target_" in n else None for n in norms]
    assert kinds == [None, (False, 1.0), (False, 1.4), (True, 1.0), (True, 1.4)]


@pytest.mark.slow
def test_the_preset_scales_varies_the_scale_of_the_norm_that_is_chosen():
    jobs = composed("scales", "norm=ssn")
    authors = [0.7, 0.8, 0.9, *(round(0.2 * n, 1) for n in range(5, 21))]  # .7 .8 .9 1 1.2 1.4 ... 4.0
    assert [cfg.norm.scale for cfg in jobs] == authors
    for cfg in jobs:
        assert cfg.norm.bidirectional is False and cfg.loss.d._target_.endswith("hinge_d") and cfg.penalty == {}
    check(jobs[0])


# arXiv:1802.05957, table 1: learning rate, beta1, beta2, n_dis.
SETTINGS = {
    "a": (1e-4, 0.5, 0.9, 5), "b": (1e-4, 0.5, 0.999, 1), "c": (2e-4, 0.5, 0.999, 1),
    "d": (1e-3, 0.5, 0.9, 5), "e": (1e-3, 0.5, 0.999, 5), "f": (1e-3, 0.9, 0.999, 5),
}  # fmt: skip


@pytest.mark.slow
def test_the_settings_a_to_f():
    for cfg, (lr, beta1, beta2, n_dis) in zip(composed("settings_a_to_f"), SETTINGS.values(), strict=True):
        for node in (cfg.optimizer.g, cfg.optimizer.d):
            assert (node.lr, list(node.betas)) == (lr, [beta1, beta2])
        assert (cfg.trainer.n_dis, cfg.optimizer.lr_scale, cfg.norm.bidirectional) == (n_dis, 1.0, False)


def test_the_preset_recipes_names_recipes():
    words = {word for job in sweeps.plan(["sweep=recipes"]).jobs for word in job if word.startswith("recipe=")}
    assert words <= {f"recipe={p.stem}" for p in (config_dir() / "recipe").glob("*.yaml")} and len(words) == 10


def test_settings_win_over_a_recipe():
    cfg = compose("recipe=sngan_resnet", "setting=f")
    assert (cfg.optimizer.d.lr, list(cfg.optimizer.d.betas)) == (1e-3, [0.9, 0.999])


@pytest.mark.slow
def test_folders_are_named_by_what_may_differ():
    def excluded(*words):
        return sweeps.plan(words).words[-1].rpartition("=")[2]

    assert excluded("norm=sn,bsn", "loss=hinge", "seed=1") == "[loss]"  # seeds may be added later
    assert excluded("sweep=norms", "norm=sn", "width=0.5") == "[sweep,width]"
    own = "hydra.job.config.override_dirname.exclude_keys=[seed]"
    assert sweeps.plan(["norm=sn,bsn", own]).words == ["norm=sn,bsn", own]


def test_only_settings_of_a_varied_group_are_put_off():
    words = ["norm=ssn,bssn", "norm.scale=1.2", "trainer.n_dis=2", "optimizer.d.lr=1e-4"]
    assert sweeps.plan(words).words[:4] == ["norm=ssn,bssn", "norm.scale=choice(1.2)", *words[2:]]
    assert sweeps.plan(["norm=ssn", "norm.scale=1.2,1.4"]).words[:2] == ["norm=ssn", "norm.scale=1.2,1.4"]
    assert sweeps.plan(["recipe=ssn,bssn_cnn", "norm.scale=1.2"]).words[1] == "norm.scale=choice(1.2)"


def test_a_search_is_checked_at_the_ends_of_its_ranges():
    planned = sweeps.plan(["hydra.sweeper._target_=other.Sweeper", "norm=bssn", "norm.scale=interval(0.5, 2)"])
    assert planned.search and [job[2] for job in planned.jobs] == ["norm.scale=0.5", "norm.scale=2.0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["sweep=norms"], ["sweep=", "add -m"]),
        (["-m", "--cfg", "job", "norm=sn,bsn"], ["--cfg", "leave out -m"]),
        (["-m", "sweep=norm"], ["sweep=norm", "'norms'"]),
        (["-m", "sweep=norms,scales"], ["one preset"]),
        (["-m", "norm=sn,bns"], ["norm=bns", "'bsn'"]),
        (["-m", "seed=1,x"], ["seed"]),
        (["-m", "norm=sn,none", "norm.scale=1.2"], ["norm.scale"]),
        (["-m", "seed=0,1,2", "name=d", "seed=0,1"], ["seed is given twice"]),
        (["-m", "hydra/launcher=jobs"], ["hydra/launcher/jobs"]),
        (["-m", "hydra.launcher.n_jobs=2"], ["n_jobs"]),
    ],
)
def test_mistakes_are_told_before_anything_runs(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.train_command(words) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("error: ")
    for part in parts:
        assert part in said, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_search_without_a_figure_and_joblib_with_several_processes_are_refused():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    with pytest.raises(UserError, match="metrics=none"):
        cli.preflight(["-m", "hydra/sweeper=optuna", "seed=1,2", "metrics=none"])
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    for launcher in ("joblib", "several"):
        with pytest.raises(UserError, match=rf"{launcher} cannot .*trainer\.devices=1"):
            cli.preflight(["-m", f"hydra/launcher={launcher}", "seed=1,2", "trainer.devices=2"])


@pytest.mark.parametrize(
    ("group", "option", "words", "plugin"),
    [
        ("launcher", "joblib", ["hydra/launcher=joblib"], "hydra-joblib-launcher"),
        ("launcher", "joblib", ["hydra/launcher=several"], "hydra-joblib-launcher"),
        ("launcher", "submitit_slurm", ["hydra/launcher=slurm"], "hydra-submitit-launcher"),
        ("sweeper", "optuna", ["sweep=scale_search"], "hydra-optuna-sweeper 'optuna<3'"),
    ],
)
def test_a_missing_plugin_is_told_with_what_to_install(group, option, words, plugin, monkeypatch, capsys):
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"][group], f"{option}.yaml", raising=False)
    assert cli.train_command(["-m", *words, "seed=1,2"]) == 2
    assert f"hydra/{group}={option} needs a plugin: pip install {plugin}\n" in capsys.readouterr().err
