"""Reading run directories in whatever state they are."""

import json

import numpy as np
import pytest

from gan_lab.errors import UserError
from gan_lab.reporting.runs import find_runs, raised, read_run


def read(path):
    return read_run(path, path.name)


def test_a_sweep_is_searched_and_every_run_found_once(sweep):
    found = find_runs([sweep, sweep / "norm=sn,seed=1"])
    assert len(found) == 15 and [p.name for p in found] == sorted(p.name for p in found)
    assert find_runs([sweep / "norm=sn,seed=1"]) == [sweep / "norm=sn,seed=1"]


def test_nested_jobs_are_found_and_empty_ones_are_runs_too(tmp_path, fabricate):
    fabricate.run(tmp_path / "sweep" / "norm=sn" / "1", fabricate.config(seed=1))
    (tmp_path / "sweep" / "2").mkdir()
    (tmp_path / "sweep" / "3" / ".hydra").mkdir(parents=True)
    found = {p.name: read(p).status for p in find_runs([tmp_path / "sweep"])}
    assert found == {"1": "finished", "2": "empty", "3": "not started"}


def test_a_path_without_runs_is_a_user_s_mistake(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        find_runs([tmp_path / "nothing"])
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path])


def test_a_finished_run_is_read_whole(sweep):
    run = read(sweep / "norm=sn,seed=2")
    assert (run.status, run.seed, run.step, run.problems) == ("finished", 2, 3000, [])
    assert list(run.figures.steps) == list(range(0, 3001, 250))
    assert run.figures.at("fid_shapes")[0] == pytest.approx(51, rel=0.1)
    assert run.protocol["num_fake"] == 3000 and run.overrides["norm"] == "sn"
    assert run.train.values["sigma/conv1"].shape == run.train.steps.shape == (60,)
    assert np.isnan(run.train.values["sigma_product"]).sum() == 30  # written every second row
    assert run.images_per_second == 1280 and run.wall_seconds == 150


def test_evaluations_appended_later_are_not_the_run_s_own(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "r", fabricate.config(), figures={0: 50.0, 100: 5.0})
    later = {"step": 100, "fid_shapes": 1.0, "fid": 2.0, "protocol": "other", "evaluated": "2025", "checkpoint": "x.pt"}
    with open(path / "metrics.jsonl", "a") as file:
        file.write(json.dumps(later) + "\n")
    run = read(path)
    assert run.figures.at("fid_shapes") == {0: 50.0, 100: 5.0} and "fid" not in run.figures.values
    assert run.problems == []
    (path / "metrics.jsonl").write_text(json.dumps(later) + "\n")  # trained with metrics=none
    run = read(path)
    assert run.figures.at("fid_shapes") == {100: 1.0} and run.protocol_id == "other"


def test_the_seed_of_a_command_is_a_number(tmp_path):
    (tmp_path / "r" / ".hydra").mkdir(parents=True)
    (tmp_path / "r" / ".hydra" / "overrides.yaml").write_text("- seed=3\n")
    assert read(tmp_path / "r").seed == 3
    (tmp_path / "r" / ".hydra" / "overrides.yaml").write_text("- seed=abc\n")
    assert read(tmp_path / "r").seed == "abc"


def test_rows_of_an_earlier_protocol_are_left_out_and_that_is_said(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "r", fabricate.config(), figures={100: 5.0})
    rows = (path / "metrics.jsonl").read_text()
    old = {"step": 50, "fid_shapes": 1.0, "protocol": "old"}
    (path / "metrics.jsonl").write_text(json.dumps(old) + "\n" + rows)
    run = read(path)
    assert run.figures.at("fid_shapes") == {100: 5.0}
    assert run.problems == ["left out: 1 evaluation under an earlier protocol"]


def test_rows_without_figures_and_rows_that_are_not_rows(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "r", fabricate.config(), figures={100: 5.0}, status=None)
    lines = ['{"step": 200, "fid_shapes": null}', '{"step": 300, "fid_shapes": NaN}', '{"step": "x"}', "[1]", '{"st',
             '{"fid_shapes": 3}', '{"step": 1.5, "fid_shapes": 3}', '{"step": 400, "fid_shapes": true}',
             '{"step": 1e300, "fid_shapes": 3}', '{"step": -100, "fid_shapes": 3}',
             '{"step": 500, "events": [{"step": 450, "kind": "k"}, 3, {"kind": "no step"}]}']  # fmt: skip
    with open(path / "metrics.jsonl", "a") as file:
        file.write("\n".join(lines))
    run = read(path)
    assert run.figures.at("fid_shapes") == {100: 5.0}
    assert [e["kind"] for e in run.events] == ["k"]
    assert run.status == "unfinished"


def test_of_two_rows_of_one_step_the_later_counts(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "r", fabricate.config(), figures={100: 5.0})
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 100, "fid_shapes": 4.0}\n{"step": 50, "fid_shapes": 9.0}\n')
    assert read(path).figures.at("fid_shapes") == {50: 9.0, 100: 4.0}


def test_events_of_rows_and_summary_are_told_once(tmp_path, fabricate):
    events = [{"step": 90, "kind": "spread", "severity": "warning"}, {"step": 80, "kind": "d", "severity": "collapse"}]
    run = read(fabricate.run(tmp_path / "r", fabricate.config(), events=events))
    assert [e["step"] for e in run.events] == [80, 90]


def test_events_that_training_only_counted_count(tmp_path, fabricate):
    counted = [("collapse", 6), ("warning", True), ("warning", 3), ("warning", "x")]
    events = [
        {"step": i, "kind": "k", "severity": severity, "more": more} for i, (severity, more) in enumerate(counted)
    ]
    run = read(fabricate.run(tmp_path / "r", fabricate.config(), events=events))
    assert (len(run.events), raised(run.events), run.collapses) == (4, 13, 7)


def test_events_of_one_kind_in_both_nets_are_two(tmp_path, fabricate):
    events = [{"step": 24, "kind": "gradient_exploded", "severity": "warning", "message": f"the gradient of {net}"}
              for net in "DG"]  # fmt: skip
    run = read(fabricate.run(tmp_path / "r", fabricate.config(), events=events))
    assert [e["message"] for e in run.events] == ["the gradient of D", "the gradient of G"]


@pytest.mark.parametrize("status", ["collapsed", "diverged", "interrupted", "failed"])
def test_the_summary_s_status_is_taken(tmp_path, fabricate, status):
    run = read(fabricate.run(tmp_path / "r", fabricate.config(), status=status))
    assert run.status == status and run.counts is (status == "interrupted")


def test_an_unknown_status_is_a_failure_that_is_told(tmp_path, fabricate):
    run = read(fabricate.run(tmp_path / "r", fabricate.config(), status="exploded"))
    assert run.status == "failed" and "exploded" in run.problems[0]


GARBAGE = [b"", b"\x00\xff\xfe\x80", b"{", b"[1, 2]", b"a: b: c", b"null", b"!!python/object:os.system x"]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(
    "file", ["config.yaml", "summary.json", "environment.json", "protocol.json", "metrics.jsonl", "train.jsonl",
             ".hydra/overrides.yaml"]
)  # fmt: skip
def test_no_content_of_a_file_stops_the_reading(tmp_path, fabricate, file, garbage):
    path = fabricate.run(tmp_path / "r", fabricate.config(), overrides=["norm=sn"], last=100, every=50)
    (path / file).write_bytes(garbage)
    run = read(path)
    if file == "config.yaml":
        assert run.status == "unreadable" and not run.counts and run.problems
    elif file == "summary.json":
        assert run.status == "unfinished"
    else:
        assert run.status == "finished"
    if garbage in (b"{", b"[1, 2]") and file.endswith((".json", "config.yaml")):
        assert any(file in problem for problem in run.problems)


def test_a_file_where_a_directory_should_be_and_the_other_way_round(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "r", fabricate.config(), last=100, every=50)
    for name in ("metrics.jsonl", "summary.json"):
        (path / name).unlink()
        (path / name).mkdir()
    assert read(path).status == "unfinished"


def test_what_a_sweep_tells_of_its_jobs_is_taken_where_the_run_itself_says_nothing(tmp_path, fabricate):
    refused = tmp_path / "refused"
    refused.mkdir()
    (refused / ".hydra").mkdir()
    (refused / "job.json").write_text('{"status": "refused", "message": "norm.scale must be positive"}')
    run = read(refused)
    assert run.status == "refused" and run.problems == ["norm.scale must be positive"]
    path = fabricate.run(tmp_path / "r", fabricate.config(), status="diverged", last=100, every=50)
    (path / "job.json").write_text('{"status": "diverged", "message": "loss/d became non-finite"}')
    assert read(path).problems == ["loss/d became non-finite"]
    (path / "job.json").write_text(
        '{"status": "interrupted", "message": "stopped by signal 15"}'
    )  # of an earlier sweep
    assert (read(path).status, read(path).problems) == ("diverged", [])


def test_a_long_summary_is_read_and_a_configuration_of_endless_aliases_is_not(tmp_path, fabricate):
    path = fabricate.run(tmp_path / "long", fabricate.config("sn", 1), figures={50: 2.0})
    summary = json.loads((path / "summary.json").read_text())
    event = {"step": 1, "kind": "non_finite", "severity": "warning", "message": "x", "value": 1.0, "threshold": 0.0}
    summary["events"] = [event | {"step": step} for step in range(15_000)]
    (path / "summary.json").write_text(json.dumps(summary))
    run = read_run(path, "long")
    assert run.status == "finished" and len(run.events) == 15_000 and run.problems == []
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    (path / "config.yaml").write_text("\n".join(lines))
    assert any(
        "config.yaml cannot be read (it holds more than 100,000 values" in p for p in read_run(path, "x").problems
    )
