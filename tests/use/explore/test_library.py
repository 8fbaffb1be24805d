"""The explorer's runs and images, without a browser."""

import io
import json
import shutil
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import gan_lab
from gan_lab.data import to_pixels
from gan_lab.errors import UserError
from gan_lab.use.directions import factorize
from gan_lab.use.explore.curves import curve_of
from gan_lab.use.explore.library import Library, View, _own_rows
from gan_lab.use.explore.server import make_app, serve, view_of
from gan_lab.use.generate import latents_of
from gan_lab.use.interpolate import slerp


@pytest.fixture
def library(folder):
    return Library([folder], "cpu")


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@torch.no_grad()
def by_hand(G, z, y=None):
    return to_pixels(G(z[None], y))[0].permute(1, 2, 0).numpy().astype(int)


@pytest.mark.slow
def test_runs_are_found_and_described(library, folder):
    assert library.runs() == {"classes": folder / "classes", "plain": folder / "plain"}
    described = library.describe("classes")
    assert described["checkpoints"] == sorted(described["checkpoints"], reverse=True) and 6 in described["checkpoints"]
    assert (described["status"], described["best"]) == ("finished", None)
    assert library.properties("plain", "latest") | {"directions": 0} == {
        "resolution": 32, "num_classes": 0, "class_names": [], "space": "z", "directions": 0
    }  # fmt: skip
    conditional = library.properties("classes", "latest")
    assert conditional["num_classes"] == len(conditional["class_names"]) == 16
    with pytest.raises(UserError, match="run=plan: no such run; there are: classes, plain"):
        library.describe("plan")


@pytest.mark.slow
def test_images_are_those_of_the_view(library, folder):
    G = gan_lab.load_generator(folder / "plain", "latest")
    a, b = latents_of(G, [3, 8]).z
    directions = factorize(G, 5).vectors
    z = slerp(a, b, torch.tensor([0.25]))[0] + 2 * directions[0] - directions[1]
    image = pixels(library.image("plain", "latest", View(3, 8, 0.25, steps=(2.0, -1.0))))
    assert np.abs(image - by_hand(G, z)).max() <= 1
    half = pixels(library.image("plain", "latest", View(3, truncation=0.5)))
    assert np.abs(half - by_hand(G, a / 2)).max() <= 1
    C = gan_lab.load_generator(folder / "classes", "latest")
    image = pixels(library.image("classes", "latest", View(3, y=7)))
    assert np.abs(image - by_hand(C, latents_of(C, [3]).z[0], torch.tensor([7]))).max() <= 1
    with pytest.raises(UserError, match="unconditional"):
        library.image("plain", "latest", View(3, y=7))
    with pytest.raises(UserError, match="has 5 directions"):
        library.image("plain", "latest", View(3, steps=(0.0,) * 6))


@pytest.mark.slow
def test_progress(library, folder, tmp_path):
    found = library.progress("plain")
    rows = [json.loads(line) for line in (folder / "plain" / "metrics.jsonl").read_text().splitlines()]
    assert found["curves"]["fid_shapes"] == [[row["step"], row["fid_shapes"]] for row in rows]
    assert (found["step"], found["total"], found["grid"]) == (7, 7, 7)
    assert "is_shapes_std" not in found["curves"] and list(found["curves"])[0] == "fid_shapes"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.yaml").write_text("trainer: {total_steps: 9}")
    (tmp_path / "new" / "train.jsonl").write_text('{"step": 4, "loss/d": 1.5}\n{"step": 5, "loss')
    found = Library([tmp_path], "cpu").progress("new")
    assert found["curves"] == {"loss/d": [[4, 1.5]]} and (found["step"], found["total"]) == (4, 9)
    assert found["grid"] is None and found["status"] == "training or interrupted"


@pytest.mark.slow
def test_exported_folders_are_found_below_a_path(folder, tmp_path):
    shutil.copytree(folder / "plain", tmp_path / "runs" / "plain")
    gan_lab.export(folder / "classes", tmp_path / "runs" / "models" / "shared")
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "config.json").write_text("{}")  # of something else
    library = Library([tmp_path], "cpu")
    assert sorted(library.runs()) == ["plain", "shared"]
    assert library.describe("shared") == {
        "name": "shared", "checkpoints": [], "best": None, "status": "exported",
    }  # fmt: skip
    assert library.properties("shared", "latest")["num_classes"] == 16
    theirs, ours = (pixels(Library([place], "cpu").image(name, "latest", View(3, y=7)))
                    for place, name in ((tmp_path, "shared"), (folder, "classes")))  # fmt: skip
    assert np.abs(theirs - ours).max() <= 1
    assert library.progress("shared") == {
        "step": 6, "total": None, "status": "exported", "curves": {}, "grid": None,
    }  # fmt: skip


def test_curves_are_of_the_runs_own_evaluations_by_one_protocol():
    own = [{"step": step, "fid": 1.0, "protocol": protocol} for step, protocol in ((0, "a"), (3, "b"), (6, "b"))]
    later = [{"step": 3, "fid": 2.0, "protocol": protocol, "evaluated": "now"} for protocol in ("b", "c")]
    assert _own_rows([own[0], later[0], *own[1:], later[1]]) == own[1:]
    assert _own_rows(later) == later[1:] and _own_rows([]) == []


def test_a_long_curve_is_thinned_and_keeps_its_end():
    rows = [{"step": i, "a": float(i)} for i in range(10_001)]
    curve = curve_of(rows, "a")
    assert 300 < len(curve) <= 402 and curve[0] == [0, 0.0] and curve[-1] == [10_000, 10_000.0]
    assert curve_of(rows[:1], "a") == [[0, 0.0]] and curve_of([{"step": 1, "a": None}], "a") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"seed": "x"}, "seed=x: must be a whole number from 0 to 2^63-1"),
        ({"seed": "1.5"}, "seed=1.5: must be"),
        ({"seed": str(2**63)}, "must be a whole number"),
        ({"to": "-1"}, "to=-1: must be"),
        ({"t": "1.1"}, "t=1.1: must be from 0 to 1"),
        ({"t": "nan"}, "t=nan: must be"),
        ({"truncation": "3"}, "truncation=3: must be from 0"),
        ({"class": "-1"}, "class=-1: must be a whole number from 0"),
        ({"d": "1,x"}, "d=x: must be numbers from -1000 to 1000"),
        ({"d": "inf"}, "d=inf: must be"),
    ],
)
def test_bad_parameters_are_told(words, message):
    with pytest.raises(UserError) as caught:
        view_of(words)
    assert message in str(caught.value)


def test_a_view_is_read():
    assert view_of({}) == View(0)
    words = {"seed": "3", "to": "8", "t": "0.25", "class": "2", "truncation": "0.5", "d": "1,-2.5"}
    assert view_of(words) == View(3, 8, 0.25, 2, 0.5, (1.0, -2.5))


@pytest.mark.slow
def test_the_server_answers_this_machine_only(library, tmp_path):
    client = make_app(library).test_client()
    page = client.get("/")
    assert page.status_code == 200 and b"gan_lab explorer" in page.data
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert client.get("/runs", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/runs", headers={"Host": "localhost:8765"}).status_code == 200
    assert client.get("/static/../server.py").status_code == 404
    refused = client.get("/image?run=plain&seed=-1")
    assert refused.status_code == 400 and refused.json["error"].startswith("seed=-1: must be")
    assert client.get("/image?run=plain&checkpoint=99").json["error"].startswith(str(library.path("plain")))
    assert client.get("/grid?run=classes").mimetype == "image/png"
    assert client.get("/grid?run=nobody").json["error"].startswith("run=nobody: no such run")
    image = client.get("/image?run=plain&seed=1")
    assert image.mimetype == "image/png" and pixels(image.data).shape == (32, 32, 3)
    found = []
    threads = [
        threading.Thread(target=lambda s=s: found.append((s, client.get(f"/image?run=plain&seed={s}").data)))
        for s in (1, 2, 1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({data for s, data in found if s == 1}) == 1 and dict(found)[1] == image.data != dict(found)[2]


@pytest.mark.slow
def test_a_port_in_use_and_no_runs_are_told(folder, tmp_path, monkeypatch):
    server = serve([folder], port=0, device="cpu")
    try:
        with pytest.raises(UserError, match=f"port {server.port} cannot be used"):
            serve([folder], port=server.port, device="cpu")
        assert server.server_address[0] == "127.0.0.1"
    finally:
        server.server_close()
    with pytest.raises(UserError, match="no runs found in "):
        serve([tmp_path], port=0)
    monkeypatch.setattr("gan_lab.use.explore.server.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"the explorer needs Flask: pip install flask"):
        serve([folder], port=0)


@pytest.mark.slow
def test_runs_of_one_name_are_told_apart(folder, tmp_path):
    for place in ("a", "b"):
        shutil.copytree(folder / "plain", tmp_path / place / "plain")
    names = Library([tmp_path, tmp_path / "a"], "cpu").runs()
    assert sorted(names) == [str(tmp_path / "a" / "plain"), str(tmp_path / "b" / "plain")]
