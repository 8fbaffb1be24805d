"""An exported generator gives the images of the run's, says nothing private, and hostile ones run no code."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import gan_lab
from gan_lab.cli.main import main
from gan_lab.errors import GanLabError, UserError
from gan_lab.files import write_json
from gan_lab.metrics.protocol import protocol_hash
from gan_lab.nets.sampling import STANDING_BATCH, with_standing_statistics
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.runs.files import append_row
from gan_lab.use import export as module
from gan_lab.use.card import describe, model_card, public
from gan_lab.use.generate import latents_of
from gan_lab.use.load import generator_of
from tests.use.generators import FAMILIES, checkpoint

FRESH = """
import json
import sys
import numpy as np

def by_hand(folder, z):
    # A DCGAN in plain PyTorch, from the weights and what config.json says of them.
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file
    told, held = json.load(open(folder + "/config.json")), load_file(folder + "/model.safetensors")
    assert told["generator"]["_target_"].endswith("DCGANGenerator") and told["z_dim"] == z.shape[1]
    x = F.linear(torch.from_numpy(z), held["linear.weight"], held.get("linear.bias")).view(len(z), -1, 4, 4)
    layers = sum(name.startswith("deconvs.") and name.endswith(".weight") for name in held)
    for i in range(layers):
        norm = (held[f"norms.{i}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.relu(F.batch_norm(x, *norm))
        x = F.conv_transpose2d(x, held[f"deconvs.{i}.weight"], held.get(f"deconvs.{i}.bias"), 2, 1)
    assert x.shape[2:] == (told["resolution"],) * 2
    return torch.tanh(x).numpy()

def images_of(file, held):
    if file.endswith(".pt2"):
        import torch
        G = torch.export.load(file).module()
        inputs = {name: torch.from_numpy(value) for name, value in held.items()}
        return G(inputs.pop("z"), **inputs).numpy()
    if file.endswith(".onnx"):
        import onnxruntime
        return onnxruntime.InferenceSession(file).run(None, held)[0]
    return by_hand(file, **held)

found = []
for file, inputs in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    held = dict(np.load(inputs))
    expected = held.pop("expected")
    found.append(float(np.abs(images_of(file, held) - expected).max()))
assert not any(name.startswith("gan_lab") for name in sys.modules)
print(json.dumps(found))
"""


@torch.no_grad()
def expected_images(file, place):
    """Write inputs and our own images of them as `place`; returns G and the inputs by name."""
    G = gan_lab.load_generator(file)
    if G.noise_sides:
        G.noise = "constant"
    torch.manual_seed(3)
    inputs = {"z": torch.randn(9, G.z_dim)}
    inputs |= {"y": torch.arange(9) % G.num_classes} if G.num_classes else {}
    inputs |= {"truncation": torch.tensor(0.7)} if G.supports_truncation else {}
    images = G(**inputs)
    assert images.std() > 0.1
    np.savez(place, expected=images.numpy(), **{name: tensor.numpy() for name, tensor in inputs.items()})
    return G, inputs, images


def in_a_fresh_process(*pairs):
    """For each (exported file, file of inputs): how far its images are from ours, in a process without gan_lab."""
    words = [sys.executable, "-W", "ignore", "-c", FRESH, *(str(path) for pair in pairs for path in pair)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=pairs[0][0].parent)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def file(tmp_path_factory, tiny_data):
    """A checkpoint whose G has a spectral norm, in a run directory with an evaluation of it."""
    folder = tmp_path_factory.mktemp("export") / "run"
    file = checkpoint(folder, tiny_data, "sngan_cnn")
    protocol = {"backbone": "mine", "weights_of_G": "ema", "file": "/home/me/weights.pt"}
    write_json(folder / "protocol.json", protocol)
    hashed = protocol_hash(protocol)
    append_row(folder / "metrics.jsonl", {"step": 0, "fid": 12.5, "protocol": hashed, "checkpoint": "/a/b"})
    append_row(folder / "metrics.jsonl", {"step": 9, "fid": 7.5, "protocol": hashed})
    return file


@pytest.fixture(scope="module")
def folder(file, tmp_path_factory):
    return gan_lab.export(file, tmp_path_factory.mktemp("hub") / "model").path


def images_of(G, n=3, **others):
    torch.manual_seed(5)
    return G(G.sample_z(n, "cpu"), **others)


def test_the_folder_holds_the_same_generator_without_its_norm(file, folder):
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "config.json", "model.safetensors", "samples.png"]
    ours, theirs = gan_lab.load_generator(file), gan_lab.load_generator(folder)
    assert images_of(ours).std() > 0.1
    torch.testing.assert_close(images_of(theirs), images_of(ours), atol=1e-6, rtol=0)
    assert not any("parametrizations" in name for name in load_file(folder / "model.safetensors"))
    assert not theirs.training and not any(p.requires_grad for p in theirs.parameters())
    torch.manual_seed(0)  # the picture: a grid of 8 x 8
    pixels = np.asarray(Image.open(folder / "samples.png"))
    assert pixels.shape == (8 * 34 + 2, 8 * 34 + 2, 3) and pixels.std() > 10


def test_the_card_tells_recipe_protocol_and_figures_of_this_step(folder):
    card, told = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "gan_lab" and "gan" in front["tags"]
    assert "| fid | 12.5 |" in card and "7.5" not in card and told["figures"] == {"fid": 12.5}
    assert told["protocol"]["backbone"] == "mine" and told["protocol"]["file"] == "..."
    recipe = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert recipe["loss"]["d"]["_target_"] == "gan_lab.losses.relativistic_d" and recipe["batch_size"] == 8
    assert told["weights"] == "moving average"


def test_standing_statistics_are_exported_without_the_figures_of_the_running_ones(file, folder, tmp_path):
    path = gan_lab.export(file, tmp_path / "standing", standing_statistics=2).path
    told, found = json.loads((path / "config.json").read_text()), gan_lab.load_generator(path)
    assert told["standing_statistics"] == 2 and told["figures"] == {} and told["protocol"] == {}
    expected = with_standing_statistics(gan_lab.load_generator(file), 2, STANDING_BATCH)
    torch.testing.assert_close(images_of(found), images_of(expected), atol=1e-5, rtol=0)
    assert not torch.allclose(images_of(found), images_of(gan_lab.load_generator(folder)), atol=1e-3)


def test_raw_weights_have_no_figures_of_the_average(file, tmp_path):
    gan_lab.export(file, tmp_path / "raw", ema=False)
    told = json.loads((tmp_path / "raw" / "config.json").read_text())
    assert told["weights"] == "raw" and told["figures"] == {} == told["protocol"]


@pytest.fixture
def evaluated(file, tmp_path):
    """A copy of the run with these rows of metrics.jsonl at its step: (protocol, figures)."""

    def write(*rows):
        run = tmp_path / "run"
        shutil.copytree(file.parents[1], run)
        (run / "metrics.jsonl").unlink()
        for protocol, figures in rows:
            hashed = protocol_hash(protocol)
            write_json(run / f"protocol-{hashed}.json", protocol)
            append_row(run / "metrics.jsonl", {"step": 0, **figures, "protocol": hashed})
        return run / "checkpoints" / file.name

    return write


RAW, EMA, RECONSTRUCTED = {"weights_of_G": "raw"}, {"weights_of_G": "ema"}, {"figure": "error", "ema": True}


@pytest.mark.parametrize(
    ("rows", "ema", "figures"),
    [
        ([(RAW, {"fid": 1.0})], True, {}),
        ([(RAW, {"fid": 1.0})], False, {"fid": 1.0}),
        ([(EMA, {"fid": 2.0}), (RAW, {"fid": 1.0})], True, {"fid": 2.0}),
        ([(RAW, {"fid": 1.0}), (EMA, {"fid": 2.0})], False, {"fid": 1.0}),
        ([(EMA, {"fid": 2.0}), (RECONSTRUCTED, {"reconstruction_error": 0.1})], True, {"fid": 2.0}),
        ([(RECONSTRUCTED, {"reconstruction_error": 0.1})], True, {}),
        ([(EMA, {"fid": 2.0}), (EMA | {"truncation": 0.5}, {"fid": 3.0})], True, {"fid": 2.0}),
        ([(EMA | {"bn_mode": "standing statistics of 2 batches of 60"}, {"fid": 3.0})], True, {}),
        ([(EMA | {"truncation": 1.0, "bn_mode": "running statistics"}, {"fid": 2.0})], True, {"fid": 2.0}),
    ],
)
def test_figures_are_of_the_weights_that_are_exported(evaluated, tmp_path, rows, ema, figures):
    told = json.loads((gan_lab.export(evaluated(*rows), tmp_path / "x", ema=ema).path / "config.json").read_text())
    assert told["figures"] == figures


def test_the_card_names_the_distribution_of_the_latents(file, tmp_path):
    G, content = gan_lab.load_generator(file), load_checkpoint(file)
    told = describe(G, content, file, True)
    for prior, words in (("normal", "128 standard normal numbers."), ("uniform", "128 numbers uniform in [-1, 1].")):
        assert f"Latents `z` are {words}\n" in model_card(G, told | {"z_prior": prior}, 4)


def test_without_an_average_raw_figures_are_those_of_the_generator(evaluated, tmp_path):
    path = evaluated((RAW, {"fid": 1.0}))
    content = load_checkpoint(path)
    content["config"]["ema"]["halflife_images"] = 0.0
    told = describe(gan_lab.load_generator(path), content, path, True)
    assert told["figures"] == {"fid": 1.0} and told["weights"] == "raw"


def private(file):
    """What must not be in an exported file: paths of this machine, its name, its user, the command."""
    return {os.path.abspath(sys.argv[0]), os.getcwd(), str(file.parents[3]), sys.prefix, str(Path.home()) + "/",
            f"{socket.gethostname()}.", f"/{getpass.getuser()}/", ".py\""}  # fmt: skip


def test_nothing_private_is_written(file, folder):
    for path in folder.iterdir():
        data = path.read_bytes()
        assert [word for word in private(file) if word.encode() in data] == [], path.name
    node = {"a": ["/home/x", {"b": r"C:\x", "c": 1.5}], "d": "clamp, round"}
    assert public(node) == {"a": ["...", {"b": "...", "c": 1.5}], "d": "clamp, round"}


def test_an_exported_folder_can_be_exported_again(folder, tmp_path):
    again = gan_lab.export(folder, tmp_path / "again")
    assert again.difference <= 1e-6
    a, b = (load_file(f / "model.safetensors") for f in (folder, again.path))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_differs_is_removed(file, tmp_path, monkeypatch):
    true = module.bake

    def wrong(G):
        true(G).out.bias.data += 0.1
        return G

    monkeypatch.setattr(module, "bake", wrong)
    with pytest.raises(GanLabError, match="differs by"):
        gan_lab.export(file, tmp_path / "x")
    assert not (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize("family", ["dcgan", "stylegan2"])
def test_images_that_are_nan_once_exported_are_a_difference(file, tmp_path, tiny_data, monkeypatch, family):
    """Python's max passes over NaN; and fixed noise maps compare what draws its own."""
    source = checkpoint(tmp_path / "run", tiny_data, family)
    how = {"noise": "random"} if family == "stylegan2" else {}
    assert gan_lab.export(source, tmp_path / "good", **how).difference == 0
    true = module.load_generator

    def broken(path, **settings):
        G = true(path, **settings)
        next(G.parameters()).data.fill_(float("nan"))
        return G

    monkeypatch.setattr(module, "load_generator", broken)
    with pytest.raises(GanLabError, match="differs by nan"):
        gan_lab.export(source, tmp_path / "x", **how)
    assert not (tmp_path / "x" / "model.safetensors").exists()


def test_a_generator_whose_images_are_not_finite_is_neither_exported_nor_drawn_from(file, tmp_path):
    content = load_checkpoint(file)
    next(iter(content["state"]["G_ema"].values())).fill_(float("nan"))
    torch.save(content, tmp_path / "nan.pt")
    for use in (gan_lab.export, gan_lab.sample):
        with pytest.raises(UserError, match="NaN or infinite values: its training diverged"):
            use(tmp_path / "nan.pt", tmp_path / "x")
    assert not any((tmp_path / "x").glob("*"))


@pytest.mark.parametrize("name", ["model.safetensors", "samples.png", "config.json"])
def test_files_of_others_with_our_names_are_not_written_over(file, tmp_path, name):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / name).write_text("{}")
    with pytest.raises(UserError, match=f"holds other files \\({name}\\)"):
        gan_lab.export(file, tmp_path / "x")
    assert (tmp_path / "x" / name).read_text() == "{}" and len(list((tmp_path / "x").iterdir())) == 1


def test_what_is_one_generator_has_no_other_checkpoint_or_weights(file, folder, tmp_path):
    for source, how in ((file, {"checkpoint": 6}), (folder, {"checkpoint": 6}), (folder, {"ema": False})):
        for use in (gan_lab.sample, gan_lab.export):
            with pytest.raises(UserError, match="leave (it|that) out, or give the run directory"):
                use(source, tmp_path / "x", **how)


def test_a_folder_without_optional_entries_can_be_exported_again(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    told = json.loads((tmp_path / "old" / "config.json").read_text())
    for key in ("z_prior", "class_weights", "recipe", "figures", "protocol"):
        told.pop(key)
    (tmp_path / "old" / "config.json").write_text(json.dumps(told))
    again = gan_lab.export(tmp_path / "old", tmp_path / "new")
    assert again.difference == 0
    assert torch.equal(images_of(gan_lab.load_generator(tmp_path / "new")), images_of(gan_lab.load_generator(folder)))


def test_an_export_heeds_no_default_dtype(file, folder, tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        assert gan_lab.export(file, tmp_path / "x").difference == 0
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("out", "how", "told"),
    [
        ("x", {"standing_statistics": -1}, "standing_statistics=-1: must be a whole number"),
        ("x.PTH", {}, "end it in .pt2 or .onnx, or give a folder"),
        ("x.onnx", {"format": "torch"}, "a file that ends in .pt2"),
        ("x", {"format": "onnx"}, "a file that ends in .onnx"),
        ("x", {"format": "zip"}, "must be one of hub, torch, onnx"),
        ("x.safetensors", {}, "end it in .pt2 or .onnx, or give a folder"),
        ("x.pth", {}, "end it in .pt2 or .onnx, or give a folder"),
        ("x.pt2", {"noise": "random"}, "random in the format hub"),
        ("x", {"noise": "loud"}, "must be constant or none"),
        ("full", {}, "holds other files \\(notes.txt\\)"),
    ],
)
def test_what_cannot_be_exported_is_told(file, tmp_path, out, how, told):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=told):
        gan_lab.export(file, tmp_path / out, **how)
    (tmp_path / "full" / "notes.txt").rename(tmp_path / "full" / "README.md")  # whose it is, config.json would say
    with pytest.raises(UserError, match="holds other files \\(README.md\\)"):
        gan_lab.export(file, tmp_path / "full")
    assert (tmp_path / "full" / "README.md").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["full"] and len(list((tmp_path / "full").iterdir())) == 1


def test_the_command(file, tmp_path, capsys):
    assert main(["export", f"run={file}", f"out={tmp_path / 'm'}"]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'm'}  (read back: images differ by at most ")
    assert main(["export", f"run={file}", f"out={tmp_path / 'm'}", "format=zip"]) == 2


def edited(folder, to, **changes):
    """A copy of an exported folder with another config.json."""
    to.mkdir()
    (to / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    told = json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**told, **changes}))
    return to


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"generator": {"_target_": "os.system", "command": "touch pwned"}}, "only targets in"),
        ({"generator": {"_target_": "evil.G"}, "extensions": ["evil"]}, "whose code would be run"),
        ({"generator": {"_target_": "gan_lab.losses.hinge_g"}}, "hinge_g"),
        ({"generator": {"_target_": "gan_lab.nets.SNGANGenerator", "width": 90.0}}, "describes a net of"),
        ({"generator": {"_target_": "gan_lab.nets.SNGANGenerator"}}, "describes a net of|size mismatch"),
        ({"generator": "x"}, "lacks the generator's settings"),
        ({"resolution": "32"}, "lacks one of"),
        ({"gan_lab_format": 2}, "describes no generator"),
    ],
)
def test_a_hostile_folder_is_refused_and_runs_nothing(folder, tmp_path, monkeypatch, changes, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=told):
        gan_lab.load_generator(edited(folder, tmp_path / "x", **changes))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_damaged_weights_are_told(folder, tmp_path):
    copy = edited(folder, tmp_path / "x")
    (copy / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(UserError, match="cannot read .*model.safetensors"):
        gan_lab.load_generator(copy)
    save_file({"x": torch.zeros(1)}, copy / "model.safetensors")
    with pytest.raises(UserError, match="holds no generator that can be built|describes a net"):
        gan_lab.load_generator(copy)


@pytest.fixture
def offline_hub(folder, tmp_path, monkeypatch):
    """The cache of the hub with the model me/faces, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--me--faces"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    snapshot = cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


def test_a_model_of_the_hub_comes_from_the_cache_without_network(folder, offline_hub):
    expected = images_of(gan_lab.load_generator(folder))
    assert torch.equal(images_of(gan_lab.load_generator("me/faces")), expected)
    assert torch.equal(images_of(gan_lab.load_generator("me/faces@main")), expected)
    with pytest.raises(UserError, match="me/other is no path here, and cannot be had from the Hugging Face hub: "):
        gan_lab.load_generator("me/other")
    Path("me").mkdir()  # a folder of this name: so it is a path
    with pytest.raises(UserError, match="no checkpoints found in me/other"):
        gan_lab.load_generator("me/other")


def test_without_the_extra_the_hub_is_told(offline_hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="pip install huggingface-hub"):
        gan_lab.load_generator("me/faces")


@pytest.mark.slow
def test_a_program_is_loaded_only_if_trusted_and_takes_any_batch(file, tmp_path):
    path, difference = gan_lab.export(file, tmp_path / "G.pt2")
    assert difference <= 1e-5
    with pytest.raises(UserError, match="trusted=True"):
        gan_lab.load_generator(path)
    G, ours = gan_lab.load_generator(path, trusted=True), gan_lab.load_generator(file)
    assert (G.resolution, G.z_dim, G.num_classes, G.train().training) == (32, 128, 0, True)
    for n in (1, 2, 7):
        torch.testing.assert_close(images_of(G.eval(), n), images_of(ours, n), atol=1e-5, rtol=0)
    assert [word for word in private(file) if word.encode() in path.read_bytes()] == []
    path.write_bytes(b"PK")
    with pytest.raises(UserError, match="not a readable program"):
        gan_lab.load_generator(path, trusted=True)


@pytest.mark.slow
def test_an_unconditional_and_a_conditional_family_in_a_fresh_process_without_gan_lab(tmp_path, tiny_data):
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    pairs = []
    for family, names in (("dcgan", ("hub", "G.onnx")), ("dcgan_nearest", ("G.onnx",)), ("r3gan_classes", ("G.pt2",))):
        file = checkpoint(tmp_path / family, tiny_data, family)
        expected_images(file, tmp_path / family / "inputs.npz")
        pairs += [(gan_lab.export(file, tmp_path / family / name).path, tmp_path / family / "inputs.npz")
                  for name in names]  # fmt: skip
    found = in_a_fresh_process(*pairs)
    assert len(found) == 4 and max(found) <= 1e-4


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_a_fresh_process_without_gan_lab(family, tmp_path, tiny_data, capsys):
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    file, held = checkpoint(tmp_path / "run", tiny_data, family), tmp_path / "inputs.npz"
    _, inputs, expected = expected_images(file, held)
    hub = gan_lab.export(file, tmp_path / "hub").path
    with torch.no_grad():
        found = [float((gan_lab.load_generator(hub)(**inputs) - expected).abs().max())]
    files = [gan_lab.export(file, tmp_path / name).path for name in ("G.pt2", "G.onnx")]
    for path in files:
        assert [word for word in private(file) if word.encode() in path.read_bytes()] == []
    found += in_a_fresh_process(*((path, held) for path in files))
    with capsys.disabled():
        print(f"\n| `{family}` | {expected.std():.2f} | " + " | ".join(f"{d:.1e}" for d in found) + " |")
    assert max(found) <= 1e-4


UNWANTED = ["hydra", "omegaconf", "torch._dynamo", "torchmetrics", "torchvision", "tensorboard"]


@pytest.mark.slow
def test_loading_imports_neither_hydra_nor_other_slow_modules(tmp_path, tiny_data):
    """The nets draw their weights in different ways, of which some import torch's compiler on the meta device."""
    files = [str(checkpoint(tmp_path / family, tiny_data, family)) for family in ("stylegan2", "r3gan_classes")]
    code = f"import sys, gan_lab; [gan_lab.load_generator(file) for file in {files}]; "
    code += f"print([name for name in {UNWANTED} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.stdout == "[]\n", run.stderr


def test_names_of_classes_come_along(tmp_path, tiny_data):
    """From the dataset to the checkpoint, and into what is exported; on the card they are no markup."""
    file = checkpoint(tmp_path / "run", tiny_data, "r3gan_classes")
    G = gan_lab.load_generator(file)
    assert len(G.class_names) == 16 and G.class_names[1] == "green circle"
    y = latents_of(G, [3], ["green circle"]).y
    assert y.tolist() == [1]
    for out in (tmp_path / "hub", tmp_path / "again", tmp_path / "G.pt2"):
        gan_lab.export(file if out.name == "hub" else tmp_path / "hub", out)
        assert gan_lab.load_generator(out, trusted=True).class_names == G.class_names
    card = (tmp_path / "again" / "README.md").read_text()
    assert "Classes, from 0 on: `red circle`, `green circle`, `blue circle`" in card

    content = load_checkpoint(file)
    content["dataset"]["class_names"][:3] = ["<b>a", "`b\n# c", "/home/me"]
    description = describe(G := generator_of(content, file), content, file, True)
    card = model_card(G, description, 4)
    assert "from 0 on: `<b>a`, `'b\\n# c`, `...`, `yellow circle`" in card
    assert "/home/me" not in card + json.dumps(description)
    told = json.loads((tmp_path / "hub" / "config.json").read_text()) | {"class_names": {"a": [1]}}
    write_json(tmp_path / "hub" / "config.json", told)
    gan_lab.export(tmp_path / "hub", tmp_path / "again")
    assert "from 0 on" not in (tmp_path / "again" / "README.md").read_text()


@pytest.mark.parametrize("names", [None, "red circle", ["a"] * 15, [*["a"] * 15, 3], {"a": 1}])
def test_names_that_do_not_fit_the_classes_are_left_out(tmp_path, tiny_data, names):
    file = checkpoint(tmp_path / "run", tiny_data, "r3gan_classes")
    content = load_checkpoint(file)
    content["dataset"]["class_names"] = names
    assert generator_of(content, file).class_names == ()
