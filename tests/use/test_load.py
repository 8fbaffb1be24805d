"""The generator of a run."""

import pytest
import torch

import gan_lab
from gan_lab.cli.main import main
from gan_lab.errors import GanLabError, UserError
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.use.load import find_checkpoint
from tests.training.short_runs import evaluated_run
from tests.use.generators import checkpoint


def checkpoints_of(folder, steps, best):
    """A run directory whose index names a best checkpoint; the files hold no weights."""
    saved = Checkpoints(folder / "checkpoints", keep=9)
    for step in steps:
        saved.save({"state": {"step": step}, "config": {}, "dataset": {}}, step, best=step == best)
    return folder


@pytest.mark.parametrize(
    ("best", "removed", "which", "found"),
    [
        (2, None, None, 2), (2, None, "best", 2), (2, None, "latest", 9), (2, None, "5", 5),
        (None, None, None, 9), (None, None, "best", "no evaluation after step 0 chose one"),
        (2, 2, None, 9), (2, 2, "best", "its file is gone"), (2, 2, "2", "has no checkpoint step-00000002.pt"),
        (9, 9, None, 5), (9, 9, "latest", 5), (9, 9, "best", "give checkpoint=latest or a step"),
    ],
)  # fmt: skip
def test_which_checkpoint_is_meant(tmp_path, best, removed, which, found):
    folder = checkpoints_of(tmp_path, (2, 5, 9), best)
    if removed:
        (folder / "checkpoints" / f"step-{removed:08d}.pt").unlink()
    if isinstance(found, int):
        assert find_checkpoint(folder, which) == folder / "checkpoints" / f"step-{found:08d}.pt"
    else:
        with pytest.raises(UserError, match=found):
            find_checkpoint(folder, which)


@pytest.mark.parametrize("verb", ["sample", "evaluate", "reconstruct"])
def test_asking_for_a_best_that_is_none_ends_in_one_sentence(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("dataset: {name: shapes}\ndata_dir: .\n")
    checkpoints_of(tmp_path, (2,), None)
    assert main([verb, "run=.", "checkpoint=best"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "checkpoint=best: . has no best checkpoint" in said


def test_the_generator_comes_back_out_of_a_run(tmp_path, tiny_data):
    folder = evaluated_run(tmp_path / "run", tiny_data)
    G = gan_lab.load_generator(folder, "latest")
    z = G.sample_z(3, "cpu")
    images = G(z)
    assert images.shape == (3, 3, 32, 32) and images.abs().max() <= 1
    assert not G.training
    raw = gan_lab.load_generator(folder, "latest", ema=False)
    assert (raw(z) - images).abs().max() > 1e-6
    torch.testing.assert_close(gan_lab.load_generator(folder / "checkpoints" / "step-00000007.pt")(z), images)
    with pytest.raises(UserError, match="step-00000099"):
        gan_lab.load_generator(folder, "99")
    with pytest.raises(UserError, match="no checkpoints"):
        gan_lab.load_generator(tmp_path)


def test_a_step_may_be_a_number(tmp_path):
    folder = checkpoints_of(tmp_path, (2, 5, 9), 2)
    assert find_checkpoint(folder, 5) == find_checkpoint(folder, "5") == folder / "checkpoints" / "step-00000005.pt"
    with pytest.raises(UserError, match=r"has no checkpoint step-00000012.pt"):
        gan_lab.load_generator(folder, 12)
    with pytest.raises(UserError, match="checkpoint=-5: must be best, latest or a step"):
        gan_lab.sample(folder, tmp_path / "a.png", checkpoint=-5)


@pytest.mark.parametrize("family", ["stylegan2", "biggan"])
def test_loading_heeds_and_changes_no_defaults_and_no_random_state(family, tmp_path, tiny_data, defaults):
    file = checkpoint(tmp_path, tiny_data, family)
    torch.manual_seed(7)
    expected, state = gan_lab.load_generator(file), torch.random.get_rng_state()
    torch.manual_seed(7)
    assert torch.equal(torch.random.get_rng_state(), state)
    for dtype, device in ((torch.float64, "cpu"), (torch.float32, "meta")):
        defaults(dtype, device)
        G = gan_lab.load_generator(file)
        assert torch.get_default_dtype() == dtype and torch.empty(()).device.type == device
        assert torch.equal(torch.random.get_rng_state(), state)
        held, wanted = G.state_dict(), expected.state_dict()
        assert list(held) == list(wanted)
        assert all(held[k].dtype == v.dtype and torch.equal(held[k], v) for k, v in wanted.items())
    (tmp_path / "bad.pt").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(GanLabError):
        gan_lab.load_generator(tmp_path / "bad.pt")
    assert torch.empty(()).device.type == "meta"
