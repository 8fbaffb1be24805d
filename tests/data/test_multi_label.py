"""Several labels an image, from the file of labels to training, grids, sampling and evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.data import TrainingImages, shapes
from gan_lab.data.store import open_packed, pack
from gan_lab.errors import UserError
from gan_lab.nets.resnet import ResNetDiscriminator
from gan_lab.training.evaluation import grids
from tests.data.test_folder import Make, both, opened, png
from tests.training import short_runs
from tests.training.short_runs import assert_same, state_of

IMAGES = [("a/1.png", png(1)), ("a/2.png", png(2)), ("b/3.png", png(3))]
VECTORS = {"a/1.png": [0, 1, 1], "a/2.png": [0, 0, 0], "b/3.png": [1, 0, 1]}
NETS = ("generator=stylegan2", "discriminator=stylegan2", "generator.conditional=true", "loss=nonsaturating",
        "discriminator.condition=projection", "generator.mapping_layers=1", "generator.w_dim=16", "penalty=r1",
        "generator.noise=constant", "width=0.03")  # fmt: skip


@both
@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("dataset.json", json.dumps({"labels": list(VECTORS.items())}), ("0", "1", "2")),
        ("labels.json", json.dumps(VECTORS), ("0", "1", "2")),
        ("labels.csv", "file,hat,smile,glasses\na/1.png,0,1,1\na/2.png,0,0,0\nb/3.png,1,0,1\n",
         ("hat", "smile", "glasses")),
        ("labels.csv", "image,hat,smile,glasses\na/1.png,0,1,1\na/2.png,0,0,0\nb/3.png,1,0,1\n",
         ("hat", "smile", "glasses")),
        ("labels.csv", "a/1.png,0,1,1\na/2.png, 0, 0, 0\nb/3.png,1,0,1\n", ("0", "1", "2")),
    ],
)  # fmt: skip
def test_a_vector_for_each_image(tmp_path: Path, make: Make, name: str, content: str, names: tuple[str, ...]) -> None:
    data = opened(tmp_path, make(tmp_path, [*IMAGES, (name, content.encode())]))
    assert data.multi_label and data.num_classes == 3 and data.class_names == names
    labels = data.labels("train")
    assert labels.dtype == torch.float32 and labels.tolist() == list(VECTORS.values())


@pytest.mark.parametrize("label", [[0, 1], [0, 1, 2], 1, ["0", 1, 1], "hat"], ids=str)
def test_other_labels_beside_vectors_are_named(tmp_path: Path, label: object) -> None:
    folder = tmp_path / "images"
    for file, content in [*IMAGES, ("labels.json", json.dumps({**VECTORS, "b/3.png": label}).encode())]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=r"labels\.json gives b/3\.png the label .* no vector of 3 numbers 0 and 1"):
        opened(tmp_path, folder)


def test_a_packed_dataset_is_checked(tmp_path):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    vectors = [(0, 1), (1, 1), (0, 0), (1, 0)]
    store = pack(tmp_path / "good", [(images[:2], vectors[:2]), (images[2:], vectors[2:])], name="good",
                 class_names=["hat", "smile"])  # fmt: skip
    assert store.labels.tolist() == [list(v) for v in vectors]
    for wrong in (np.full((4, 2), 2), np.full((4, 2), -1), np.zeros((4, 3), int), np.zeros((4, 2, 1), int)):
        np.save(tmp_path / "good" / "labels.npy", wrong)
        with pytest.raises(UserError, match=r"labels\.npy"):
            open_packed(tmp_path / "good")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A folder of 24 shapes with three labels each, in four combinations of unequal number."""
    folder = tmp_path_factory.mktemp("labelled")
    images = shapes.render(24, seed=1)[0]
    vectors = [[0, 0, 1]] * 12 + [[1, 1, 0]] * 6 + [[0, 0, 0]] * 4 + [[1, 1, 1]] * 2
    for i, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    (folder / "labels.json").write_text(json.dumps({f"{i:02}.png": v for i, v in enumerate(vectors)}))
    return folder


def words(folder, data):
    return (*NETS, "dataset=folder", f"dataset.path={folder}", "dataset.resolution=32", f"data_dir={data}")


def build(folder, data, *more):
    return gan_lab.build(gan_lab.compose(*short_runs.PLAIN, *words(folder, data), *more))


def test_fakes_have_the_vectors_of_the_data(labelled, tmp_path):
    x = build(labelled, tmp_path, "trainer.fake_labels=data")
    assert x.G.label_rows.tolist() == [[0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]] and x.G.num_choices == 4
    assert x.G.class_weights.tolist() == pytest.approx([4 / 24, 12 / 24, 6 / 24, 2 / 24])
    torch.manual_seed(0)
    y = x.G.sample_y(6000, "cpu")
    assert y.dtype == torch.float32 and y.shape == (6000, 3)
    shares = (y @ torch.tensor([4.0, 2.0, 1.0])).long().bincount(minlength=8) / 6000
    assert shares.tolist() == pytest.approx([4 / 24, 12 / 24, 0, 0, 0, 0, 6 / 24, 2 / 24], abs=0.03)
    uniform = build(labelled, tmp_path)
    assert uniform.G.class_weights.tolist() == [0.25] * 4
    images, y = TrainingImages(x.dataset, "cpu", 0, 4).batch(0)
    assert y.shape == (4, 3) and images.shape == (4, 3, 32, 32)
    assert {name: labels.shape for name, (_, labels) in grids(x).items()} == {
        "samples": (64, 3), "raw": (64, 3), "real": (24, 3)}  # fmt: skip


def test_projection_adds_the_rows_of_all_labels():
    D = ResNetDiscriminator(8, 3, width=0.04, condition="projection", num_classes=4)
    x = torch.rand(3, 3, 8, 8)
    alone = D.logits(D.features(x), torch.zeros(3, 4))
    single = [D(x, torch.full((3,), k)) - alone for k in range(4)]
    y = torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    expected = alone + sum(y[:, k] * single[k] for k in range(4))
    torch.testing.assert_close(D(x, y), expected, rtol=1e-5, atol=1e-5)
    assert (D(x, y) - alone).abs().min() > 1e-4


@pytest.mark.parametrize(("more", "message"), [
    (("generator=resnet", "discriminator=resnet", "~generator.mapping_layers", "~generator.w_dim", "~generator.noise"),
     "several labels an image, which ResNetGenerator does not take"),
    (("discriminator.condition=ac", "penalty=ac"), "discriminator.condition=ac needs one class an image"),
])  # fmt: skip
def test_what_needs_one_class_is_one_sentence(labelled, tmp_path, more, message):
    fixed = [w for w in words(labelled, tmp_path) if not more[0].startswith("generator") or w not in NETS[5:9]]
    more = [w for w in more if not w.startswith("~")]
    with pytest.raises(UserError, match=message) as found:
        gan_lab.build(gan_lab.compose(*short_runs.PLAIN, *fixed, *more))
    assert "\n" not in str(found.value)
    assert build(labelled, tmp_path, "dataset.labels=false", "generator.conditional=false",
                 "discriminator.condition=none").dataset.num_classes == 1  # fmt: skip


@pytest.mark.slow
def test_a_run_resumes_samples_and_is_evaluated(labelled, tmp_path):
    common = (*short_runs.SMALL, *words(labelled, tmp_path / "data"), "monitor=light", "augment=apa", "augment.p=0.5",
              "metrics=inception", "metrics._target_=gan_lab.metrics.classifier_evaluator", "metrics.weights=shapes",
              "~metrics.feature", "metrics.num_samples=16", "metrics.num_real=8", "metrics.kid=false",
              "metrics.precision_recall=false", "trainer.eval_every_steps=0", "optimizer=adam")  # fmt: skip

    def run(name, steps):
        return gan_lab.train(gan_lab.compose(*common, f"trainer.total_steps={steps}",
                                             f"hydra.run.dir={tmp_path / name}"))  # fmt: skip

    whole, parts = run("whole", 4), run("parts", 2)
    run("parts", 4)
    assert_same(state_of(whole)["G"], state_of(parts)["G"])
    assert_same(state_of(whole)["D"], state_of(parts)["D"])
    G = gan_lab.load_generator(whole)
    assert G.multi_label and G.num_choices == 4
    y = G.labels_of(torch.tensor([2, 3]))
    assert y.tolist() == [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]] and G(G.sample_z(2, "cpu"), y).shape == (2, 3, 32, 32)
    out = tmp_path / "samples.npz"
    gan_lab.sample(whole, out=out, seeds=[0, 1], classes=[1, 3])
    assert np.load(out)["classes"].tolist() == [[0, 0, 1], [1, 1, 1]] * 2
    with pytest.raises(UserError, match="classes=4: this generator's sets of labels are 0 to 3"):
        gan_lab.sample(whole, out=out, seeds=[0], classes=[4])
    card = (gan_lab.export(whole, tmp_path / "hub").path / "README.md").read_text()
    names = "`{}`, `{}`, `{}`".format(*G.class_names)
    assert f"vectors of 0 and 1, one number a label. Labels, from 0 on: {names}. `truncation`" in card
    assert G.choice_names == ["none", G.class_names[2], " + ".join(G.class_names[:2]), " + ".join(G.class_names)]
    assert "whole numbers" not in card
    row = gan_lab.evaluate(whole, data_dir=tmp_path / "data")
    assert "fid_shapes" in row and not any("intra" in key or "accuracy" in key for key in row)
