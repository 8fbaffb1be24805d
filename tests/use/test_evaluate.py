"""`gan_lab.evaluate`: presets, runs, and sets of images with whatever they may hold."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import zipfile
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.config.options import config_dir
from gan_lab.config.targets import check_node
from gan_lab.data.shapes import render
from gan_lab.errors import StorageError, UserError
from gan_lab.metrics import functional as fn
from gan_lab.metrics.backbones.classifier import SHIPPED, ClassifierExtractor
from gan_lab.nets.sampling import sampler
from gan_lab.use.evaluate import preset
from tests.training.short_runs import PLAIN, write_pictures

PRESETS = ["shapes", "inception", "fid50k", "paper_10k_5k", "quick", "classifier"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_fits_its_evaluator(name):
    check_node("metrics", preset(name))
    keys = {"_target_", "weights", "num_samples", "fid_samples", "num_real", "real_split", "splits", "kid",
            "precision_recall", "pairwise", "extra", "ema", "truncation", "standing_statistics", "seed", "batch_size",
            "best"}  # fmt: skip
    assert preset(name).keys() - {"feature"} == keys


def test_no_file_of_the_group_is_forgotten():
    folder = config_dir() / "metrics"
    assert sorted(path.stem for path in folder.glob("*.yaml")) == sorted([*PRESETS, "none"])
    assert yaml.safe_load((folder / "none.yaml").read_text()) == {"metrics": None}


@pytest.fixture
def pictures(tmp_path):
    """Write images of random colours, the same for the same seed, and return their folder."""

    def write(name, n=20, seed=0, side=32, **options):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(render(n, seed=seed)[0]):
            image = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            image.save(tmp_path / name / f"{i:02}{options.get('suffix', '.png')}")
        return tmp_path / name

    return write


def compared(a, b, **more):
    return gan_lab.evaluate(a, b, metrics="shapes", device="cpu", **more)


@pytest.mark.filterwarnings("ignore")
def test_images_are_turned_as_their_exif_says(pictures, tmp_path):
    upright = pictures("upright")
    (tmp_path / "turned").mkdir()
    for i, file in enumerate(sorted(upright.iterdir())):
        exif, turns = Image.Exif(), {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}
        exif[0x0112] = (6, 3)[i % 2]
        Image.open(file).transpose(turns[exif[0x0112]]).save(tmp_path / "turned" / file.name, exif=exif)
    found = compared(tmp_path / "turned", upright)
    assert found["fid_shapes"] == pytest.approx(0, abs=1e-9) and found["coverage_shapes"] == 1


@pytest.mark.filterwarnings("ignore")
def test_every_format_and_linked_folders_count(pictures, tmp_path):
    pictures("set", 3), pictures("set/inner/deep", 2, seed=1)
    suffixes = (".jfif", ".jp2", ".PNG", ".bmp", *([".avif"] if "AVIF" in Image.SAVE else []))
    for suffix in suffixes:
        pictures("set", 2, suffix=suffix)
    beside = pictures("beside", 4, seed=2)
    (tmp_path / "set" / "linked").symlink_to(beside)
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "notes.txt").write_text("no image")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    for path in (tmp_path / "set", tmp_path / "link"):
        found = compared(path, beside)
        assert (found["fakes_read"], found["fakes_skipped"]) == (3 + 2 + 2 * len(suffixes) + 4, 0)
        assert (found["reals_read"], found["reals_skipped"]) == (4, 0)


def broken_chunk() -> bytes:
    file = io.BytesIO()
    Image.fromarray(render(1, seed=0)[0][0]).save(file, "PNG")
    data = file.getvalue()
    at = data.index(b"IDAT") - 4
    return data[:at] + (int.from_bytes(data[at : at + 4], "big") - 100).to_bytes(4, "big") + data[at + 4 :]


def not_a_number() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(file, "TIFF")
    return file.getvalue()


BROKEN = {
    "chunk.png": broken_chunk, "nan.tif": not_a_number, "post.png": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(x) run",
    "empty.png": lambda: b"", "text.jpg": lambda: b"hello",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_broken_image_is_named_in_one_sentence_and_may_be_skipped(pictures, tmp_path, monkeypatch, name, zipped):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a program was started"))
    whole = pictures("set", 8)
    bad = shutil.copytree(whole, tmp_path / "bad")
    (bad / name).write_bytes(BROKEN[name]())
    if zipped:
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            for file in sorted(bad.iterdir()):
                archive.write(file, f"inner/{file.name}")
        bad = tmp_path / "bad.zip"
    for a, b, key in ((bad, whole, "path_a"), (whole, bad, "path_b")):
        with pytest.raises(UserError) as caught:
            compared(a, b)
        text = str(caught.value)
        assert text.startswith(f"{key}=") and name in text and "max_unreadable" in text and "\n" not in text
    found = compared(bad, whole, max_unreadable=1)
    assert (found["fakes_read"], found["fakes_skipped"], found["reals_read"], found["reals_skipped"]) == (8, 1, 8, 0)
    assert found["fid_shapes"] == pytest.approx(0, abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_a_set_of_another_size_than_the_classifier_is_refused_and_others_are_resized_by_the_backbone(pictures):
    small = pictures("small", 6)
    with pytest.raises(UserError, match="reads 32 px, the dataset has 40 px"):
        compared(small, pictures("large", 6, side=40))
    with pytest.raises(UserError, match="reads 32 x 32 px, not 48 x 48"):
        compared(pictures("larger", 6, side=48), small)


@pytest.mark.filterwarnings("ignore")
def test_figures_of_small_sets_are_those_computed_without_covariances(pictures):
    """40 against 30 images in 64 dimensions: the Frechet distance straight from features is the reference."""
    a, b = pictures("a", 40, seed=1), pictures("b", 30, seed=2)
    found = compared(a, b, settings={"kid_subset_size": 20, "kid_subsets": 7, "splits": 3})
    net = ClassifierExtractor(
        SHIPPED / "shapes.safetensors", resolution=32, channels=3, num_classes=1, device=torch.device("cpu")
    )
    order = [torch.from_numpy(np.random.RandomState(0).permutation(n)) for n in (40, 30)]
    x, y = (
        net(torch.from_numpy(render(n, seed=s)[0]).permute(0, 3, 1, 2)[at])
        for n, s, at in ((40, 1, order[0]), (30, 2, order[1]))
    )
    exact = fn.frechet_distance_of_features(x["features"], y["features"])
    assert found["fid_shapes"] == pytest.approx(exact, rel=1e-6)
    kid = fn.kernel_distance(x["features"], y["features"], 7, 20)
    assert (found["kid_shapes"], found["kid_shapes_std"]) == pytest.approx(kid, rel=1e-5)
    score = fn.inception_score(x["logits"], 3, 2020)
    assert (found["is_shapes"], found["is_shapes_std"]) == pytest.approx(score, rel=1e-6)
    assert found["protocol_entries"]["is_shuffle_seed"] == 2020
    seen = [torch.bincount(side["logits"].argmax(1), minlength=16) for side in (x, y)]
    assert found["modes_shapes"] == int((seen[0] > 0).sum())
    assert found["modes_kl_shapes"] == pytest.approx(fn.label_divergence(*seen))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_measured_from_python(tmp_path, tiny_data, monkeypatch):
    words = ("trainer.total_steps=1", "trainer.batch_size=4", "width=0.0625", "metrics=shapes", "trainer.device=cpu",
             "metrics.num_samples=40", "metrics.num_real=50")  # fmt: skip
    run = gan_lab.train(gan_lab.compose(f"data_dir={tiny_data}", f"hydra.run.dir={tmp_path / 'run'}", *words))
    first = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    again = gan_lab.evaluate(str(run), checkpoint="latest", device="cpu")
    assert again["fid_shapes"] == first["fid_shapes"] and again["protocol"] == first["protocol"]
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) == again
    standing = gan_lab.evaluate(run, settings={"standing_statistics": 2}, device="cpu")
    assert standing["fid_shapes"] != first["fid_shapes"] and standing["protocol"] != first["protocol"]
    for same in (run, gan_lab.open_run(run)):
        assert gan_lab.evaluate(same, device="cpu")["fid_shapes"] == first["fid_shapes"]
    config, asked = run / "config.yaml", []

    @contextmanager
    def tf32(allowed, device):
        asked.append(allowed)
        yield
        asked.append("end")

    def drawing(*arguments):
        draw = sampler(*arguments)
        return lambda n: (asked.append("draws"), draw(n))[1]

    with monkeypatch.context() as patched:
        patched.setattr("gan_lab.use.evaluate.tf32", tf32)
        patched.setattr("gan_lab.use.evaluate.sampler", drawing)
        for precision in ("fp32", "tf32", "bf16"):  # a GPU draws as in training, where bf16 is for updates only
            config.write_text(re.sub("precision: .*", f"precision: {precision}", config.read_text()))
            gan_lab.evaluate(run, device="cpu")
    assert list(dict.fromkeys(asked)) == [False, "draws", "end", True]
    assert [word for word, _ in groupby(asked)] == [word for p in (False, True, False) for word in (p, "draws", "end")]
    rows = (run / "metrics.jsonl").rename(tmp_path / "rows")
    (run / "metrics.jsonl").mkdir()  # as good as a folder that cannot be written to
    with pytest.raises(StorageError, match=f"measured: fid_shapes {first['fid_shapes']:.6g}, "):
        gan_lab.evaluate(run, checkpoint="latest", device="cpu")
    (run / "metrics.jsonl").rmdir()
    rows.rename(run / "metrics.jsonl")
    with pytest.raises(UserError, match="metrics.truncation=0.5: DCGANGenerator has no truncation"):
        gan_lab.evaluate(run, settings={"truncation": 0.5}, device="cpu")
    with pytest.raises(UserError, match=r"metrics: seed must be a whole number from 0 to 2\^32-1, not -1"):
        gan_lab.evaluate(run, settings={"seed": -1}, device="cpu")
    with pytest.raises(UserError, match="metrics=shape: no such preset; did you mean 'shapes'"):
        gan_lab.evaluate(run, metrics="shape", device="cpu")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_a_run_whose_images_were_moved_is_measured_and_reconstructed(tmp_path, monkeypatch, capsys):
    """With the path given, by the packed copy without it, and not with other images, from any directory."""
    monkeypatch.chdir(tmp_path)
    first = write_pictures(tmp_path / "photos")
    words = ["dataset=folder", "dataset.path=photos", "dataset.resolution=32", "data_dir=packed", "generator=dcgan",
             "discriminator=dcgan", "trainer.total_steps=1", "hydra.run.dir=run"]  # fmt: skip
    gan_lab.train(gan_lab.compose(*PLAIN, *words))
    how = ["metrics=shapes", "metrics.num_samples=16", "metrics.num_real=12", "metrics.kid=false"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def measured(*more, verb="evaluate", data=None):
        options = how if verb == "evaluate" else ["split=train", "recon_images=2", "recon_steps=1"]
        status = main([verb, "run=../run", *options, *more])
        said = capsys.readouterr()
        return json.loads(said.out[said.out.index("{") :]) if status == 0 else (status, said.err.strip())

    before = measured()
    first.rename(tmp_path / "moved")
    for more in ([], ["dataset.path=../moved"], ["dataset_path=../moved"]):
        found = measured(*more)
        assert (found["fid_shapes"], found["protocol"]) == (before["fid_shapes"], before["protocol"]), more
    assert measured("dataset.path=../moved", verb="reconstruct")["step"] == 1
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == []  # nothing is packed here

    write_pictures(tmp_path / "other", seed=1)
    for verb in ("evaluate", "reconstruct"):
        status, said = measured("dataset.path=../other", verb=verb)
        assert status == 2 and "the run was trained on other images" in said and "Traceback" not in said
    write_pictures(first, seed=2)  # other images at the old path: the packed copy is meant
    assert measured()["fid_shapes"] == before["fid_shapes"]
    shutil.rmtree(tmp_path / "packed")
    status, said = measured()
    assert status == 2 and "the run was trained on other images" in said
    assert measured("dataset.path=../moved")["fid_shapes"] == before["fid_shapes"]
    assert measured("data_dir=../packed", "dataset.path=../moved")["fid_shapes"] == before["fid_shapes"]
