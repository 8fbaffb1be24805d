"""Classes from the data to the pictures: a conditional R3GAN on shapes; and no trace of them in other runs."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.data import open_packed
from gan_lab.data.store import pack
from gan_lab.errors import InterruptedRun, UserError
from gan_lab.metrics.images import quantize
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from gan_lab.use.reconstruct import reconstruct
from tests.training import short_runs
from tests.training.short_runs import assert_same, evaluated_run, rows_of, run, state_of

MORE = ("augment=ada", "augment.p=0.3", "penalty=r1r2")
CONDITIONAL = (*short_runs.CONDITIONAL, *MORE, "trainer.fake_labels=data")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_data):
    return evaluated_run(tmp_path_factory.mktemp("conditional") / "run", tiny_data, *CONDITIONAL, "monitor=full")


@pytest.mark.slow
def test_it_trains_and_is_evaluated(whole):
    assert json.loads((whole / "summary.json").read_text())["status"] == "finished"
    rows = read_rows(whole / "train.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6, 7]
    assert all(v is not None and np.isfinite(v) for row in rows for v in row.values())
    assert [row["step"] for row in read_rows(whole / "metrics.jsonl")] == [0, 3, 6, 7]
    state = state_of(whole)
    assert state["G"]["class_weights"].sum().item() == pytest.approx(1.0)
    for net, name in (("G", "embedding.weight"), ("D", "embedding.weight")):
        moments = state["G" if net == "G" else "D"][name]
        assert moments.shape[1] == 16
    assert not torch.equal(state["G"]["embedding.weight"], state["G_ema"]["embedding.weight"])


@pytest.mark.slow
def test_every_row_of_the_grid_is_a_class(whole):
    """Without noise or batch statistics the picture is that of G, put together by hand."""
    with Image.open(whole / "samples" / "samples-00000007.png") as image:
        picture = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    border = (picture.shape[2] - 8 * 32) // 9
    assert picture.shape[1] == 16 * 32 + 17 * border
    G = gan_lab.load_generator(whole, "latest")
    cells = [picture[:, top : top + 32, left : left + 32] for top in range(border, 16 * (32 + border), 32 + border)
             for left in range(border, 8 * (32 + border), 32 + border)]  # fmt: skip
    from gan_lab.distributed.randomness import mix, own_randomness

    with own_randomness(mix(0, "grid"), torch.device("cpu")):
        z = G.sample_z(64, "cpu")[:8]
    with torch.no_grad():
        for row in range(16):
            wanted = quantize(G(z, torch.full((8,), row)))
            for cell, image in zip(cells[8 * row : 8 * row + 8], wanted, strict=True):
                assert (cell.int() - image.int()).abs().max() <= 1
    assert not torch.equal(cells[0], cells[8])  # the same latent, another class


@pytest.mark.slow
def test_stopped_and_resumed_equals_undisturbed(tmp_path, tiny_data, whole, monkeypatch):
    true = accelerate.g_step

    def stopping(exp, real, y):
        if exp.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return true(exp, real, y)

    monkeypatch.setattr(accelerate, "g_step", stopping)
    words = (*CONDITIONAL, "monitor=full")
    with pytest.raises(InterruptedRun):
        evaluated_run(tmp_path / "parts", tiny_data, *words)
    parts = evaluated_run(tmp_path / "parts", tiny_data, *words)
    assert_same(state_of(whole), state_of(parts))
    assert rows_of(whole, "metrics.jsonl") == rows_of(parts, "metrics.jsonl")
    after_resume = ("grad_cosine/d", "grad_cosine/g")  # left out where the step before was another process's
    a, b = ([{k: v for k, v in r.items() if k not in after_resume} for r in rows_of(f, "train.jsonl")]
            for f in (whole, parts))  # fmt: skip
    assert a == b


@pytest.mark.long
def test_two_processes_train_what_one_does(tmp_path, tiny_data):
    """In float32 the order of sums differs; in float64 see tests/distributed/test_collectives.py."""
    one = run(tmp_path / "one", tiny_data, *CONDITIONAL, "trainer.total_steps=3")
    two = run(tmp_path / "two", tiny_data, *CONDITIONAL, "trainer.total_steps=3", "trainer.devices=2")
    for net in ("G", "D", "G_ema"):
        a, b = state_of(one)[net], state_of(two)[net]
        assert a.keys() == b.keys()
        for key, value in a.items():
            torch.testing.assert_close(b[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.slow
def test_a_run_is_sampled_and_evaluated_again(tmp_path, tiny_data, whole, capsys):
    assert main(["sample", f"run={whole}", f"out={tmp_path / 'grid.png'}", "n=9", "checkpoint=latest"]) == 0
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size[0] > 3 * 32
    assert main(["sample", f"run={whole}", f"out={tmp_path / 'folder'}", "n=3"]) == 0
    assert len(list((tmp_path / "folder").iterdir())) == 3
    before = read_rows(whole / "metrics.jsonl")
    capsys.readouterr()
    assert main(["evaluate", f"run={whole}", "checkpoint=latest", f"data_dir={tiny_data}", "device=cpu"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["fid_shapes"] == pytest.approx(before[3]["fid_shapes"], rel=1e-6)


@pytest.mark.slow
def test_images_are_reconstructed_with_their_own_classes(tiny_data, whole):
    file = sorted((whole / "checkpoints").glob("step-*.pt"))[-1]  # for a file, nothing is written
    row = reconstruct(file, device="cpu", data_dir=tiny_data, images=4, steps=0)
    G, store = gan_lab.load_generator(file), open_packed(tiny_data / "shapes")
    places = [160, 168, 176, 184]  # 4 of the 32 test images
    with torch.no_grad():
        made = (G(torch.zeros(4, G.z_dim), torch.from_numpy(np.array(store.labels[places]))) + 1) / 2
    wanted = torch.from_numpy(np.array(store.images[places])).permute(0, 3, 1, 2) / 255
    assert row["reconstruction_error"] == pytest.approx((made - wanted).square().mean().item(), rel=1e-4)
    assert row["protocol_entries"]["classes"] == "of the images"


@pytest.mark.slow
def test_classes_reach_both_nets(tmp_path, tiny_data, whole):
    """The same run with the classes of the images shuffled trains something else."""
    store = open_packed(tiny_data / "shapes")
    labels = np.concatenate([store.labels[:160][::-1], store.labels[160:]])
    pack(tmp_path / "shapes", [(np.array(store.images), labels)], name="shapes", class_names=store.class_names, test=32)
    words = (*CONDITIONAL, "trainer.fake_labels=uniform", "trainer.total_steps=2")
    mine, other = run(tmp_path / "mine", tiny_data, *words), run(tmp_path / "other", tmp_path, *words)
    a, b = state_of(mine), state_of(other)
    assert not torch.equal(a["D"]["embedding.weight"], b["D"]["embedding.weight"])
    assert not torch.equal(a["G"]["basis"], b["G"]["basis"])


@pytest.mark.slow
def test_an_unconditional_run_does_not_know_of_classes(tmp_path, tiny_data):
    """Bit for bit the same on the same images with one class: no class is drawn, and no random number for one."""
    store = open_packed(tiny_data / "shapes")
    one = np.zeros(192, np.int64)
    pack(tmp_path / "shapes", [(np.array(store.images), one)], name="shapes", class_names=["all"], test=32)
    words = ("recipe=sngan_resnet", "width=0.0625", *MORE, "trainer.n_dis=2", "trainer.total_steps=3")
    many, single = run(tmp_path / "many", tiny_data, *words), run(tmp_path / "single", tmp_path, *words)
    assert_same(state_of(many), state_of(single))
    assert rows_of(many, "train.jsonl") == rows_of(single, "train.jsonl")


@pytest.mark.slow
def test_a_projection_discriminator_and_its_generator_train_and_are_loaded(tmp_path, tiny_data):
    """SN-GAN's residual nets with classes: spectral norm on D's embedding, class-conditional batch norm in G."""
    words = (
        "recipe=sngan_resnet",
        "generator.conditional=true",
        "discriminator.condition=projection",
        "trainer.n_dis=2",
    )
    folder = run(tmp_path / "run", tiny_data, *words)
    rows, state = read_rows(folder / "train.jsonl"), state_of(folder)
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert all(np.isfinite(row[name]) for row in rows for name in ("loss/d", "loss/g"))
    assert state["D"]["class_head.projection.parametrizations.weight.original"].shape == (16, 8)
    assert state["D"]["class_head.projection.parametrizations.weight.0.u_1"].shape == (16, 1)
    gains = state["G"]["blocks.0.norm_1.gains"]
    assert gains.shape == (16, 16) and not torch.equal(gains, torch.ones_like(gains))
    G = gan_lab.load_generator(folder, "latest")
    assert torch.equal(G.state_dict()["blocks.0.norm_1.gains"], state["G_ema"]["blocks.0.norm_1.gains"])
    z = G.sample_z(1, "cpu")
    assert not torch.equal(G(z, torch.tensor([0])), G(z, torch.tensor([5])))


def test_a_projection_discriminator_needs_a_conditional_generator(tiny_data):
    with pytest.raises(UserError, match="needs a conditional generator"):
        short_runs.build(tiny_data, "recipe=sngan_resnet", "discriminator.condition=projection")


@pytest.mark.slow
def test_class_folders_train_a_biggan_of_which_one_class_is_sampled(tmp_path):
    for seed, name in enumerate(("cats", "dogs")):
        short_runs.write_pictures(tmp_path / "pets" / name, seed=seed)
    words = ("recipe=biggan", "dataset=folder", f"dataset.path={tmp_path / 'pets'}", "dataset.resolution=32")
    folder = run(tmp_path / "run", tmp_path / "data", *words, "trainer.n_dis=1", "trainer.total_steps=2")
    assert state_of(folder)["D"]["class_head.projection.parametrizations.weight.original"].shape[0] == 2
    images = {}
    for classes in ("1", "0-1"):
        out = tmp_path / f"{classes}.npz"
        assert main(["sample", f"run={folder}", f"out={out}", "seeds=0-2", f"classes={classes}"]) == 0
        with np.load(out) as arrays:
            images[classes] = arrays["images"]
    assert len(images["1"]) == 3 and np.array_equal(images["1"], images["0-1"][1::2])
    assert not np.array_equal(images["1"], images["0-1"][::2])
