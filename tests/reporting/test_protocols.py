"""Figures that gan-lab evaluate measured afterwards, where the runs' own do not compare."""

import json

import pytest

from gan_lab.errors import UserError
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.runs import find_runs, read_run


def compared(folder, **how):
    return compare_runs([read_run(p, p.name) for p in find_runs([folder])], **how)


def later(path, protocol, step=100, **figures):
    """What `gan-lab evaluate` leaves in a run."""
    hashed = protocol_hash(protocol)
    (path / f"protocol-{hashed}.json").write_text(json.dumps(protocol))
    row = {"step": step, "images_seen": 1, "wall_seconds": 1.0, **figures, "protocol": hashed, "checkpoint": "x.pt",
           "evaluated": "2025-12-01T00:00:00+00:00"}  # fmt: skip
    with open(path / "metrics.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")


@pytest.fixture
def two_protocols(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}] * 2})
    fabricate.figures(tmp_path, {"bsn": [{100: 3.0}]}, protocol={**fabricate.protocol, "num_fake": 50_000})
    return sorted(tmp_path.iterdir())


def test_the_advice_of_the_refusal_works(tmp_path, fabricate, two_protocols):
    with pytest.raises(UserError, match="gan-lab evaluate with the same metrics="):
        compared(tmp_path)
    common = {**fabricate.protocol, "num_fake": 10_000}
    for i, path in enumerate(two_protocols):
        later(path, common, fid_shapes=7.0 + i)
        if path != two_protocols[-1]:
            with pytest.raises(UserError, match="num_fake"):  # not all runs have it
                compared(tmp_path)
    (found,) = compared(tmp_path)
    assert found.protocol == common and found.protocol_id == protocol_hash(common) and found.step == 100
    values = {r.label: found.at_step(r, found.metric).values for r in found.recipes}
    assert values == {"norm=bsn": {0: 7.0}, "norm=sn": {0: 8.0, 1: 9.0}}
    assert found.warnings[0].startswith("The runs' own evaluations have several protocols: the figures of 3 runs are")
    assert {s.protocol["num_fake"] for s in compared(tmp_path, separate=True)} == {3000, 50_000}


def test_runs_of_the_later_protocol_keep_their_own_figures(tmp_path, fabricate, two_protocols):
    bsn, *sn = two_protocols
    later(bsn, fabricate.protocol, fid_shapes=7.0)
    (found,) = compared(tmp_path)
    assert [found.at_step(r, found.metric).values for r in found.recipes] == [{0: 4.0, 1: 4.0}, {0: 7.0}]
    assert "the figures of 1 run are" in found.warnings[0]


def test_a_metric_that_only_later_evaluations_have_is_compared(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}] * 2, "bsn": [{100: 3.0}] * 2})
    inception = {**fabricate.protocol, "backbone": "inception"}
    for i, path in enumerate(sorted(tmp_path.iterdir())):
        later(path, inception, fid=20.0 + i)
    (own,) = compared(tmp_path)
    assert own.metric.key == "fid_shapes" and own.warnings == []
    (found,) = compared(tmp_path, metric="fid")
    assert found.metric.key == "fid" and found.protocol == inception
    assert {r.label: found.at_step(r, found.metric).values for r in found.recipes} == {
        "norm=bsn": {0: 20.0, 1: 21.0}, "norm=sn": {0: 22.0, 1: 23.0}
    }  # fmt: skip
    assert found.warnings[0].startswith("The runs' own evaluations lack fid: the figures of 4 runs")
    with pytest.raises(UserError, match="metric=kid: no run has this figure"):
        compared(tmp_path, metric="kid")


def test_no_evaluation_is_advised_where_the_images_are_others(tmp_path, fabricate):
    fabricate.figures(tmp_path, {"sn": [{100: 4.0}]})
    fabricate.figures(tmp_path, {"bsn": [{100: 3.0}]}, protocol={**fabricate.protocol, "dataset_sha256": "ef" * 32})
    with pytest.raises(UserError, match="dataset_sha256.*protocols=separate") as caught:
        compared(tmp_path)
    assert "gan-lab evaluate" not in str(caught.value)
