"""Every command of the documents' code blocks: run at tiny size, or at least composed or parsed."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_lab
from gan_lab.cli.main import VERBS, main
from gan_lab.cli.options import parse
from gan_lab.cli.train import preflight
from gan_lab.config.compose import compose
from gan_lab.data import faces
from gan_lab.data.store import pack
from tests.cli.test_main import SCRIPTS, options_of

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
TINY = (
    "trainer.total_steps=1", "trainer.batch_size=4", "width=0.0625", "metrics=none", "trainer.threads=1",
    "trainer.sample_every_steps=0", "optimizer=adam",
)  # fmt: skip
SMALLER = {  # the last one of equal keys counts
    "sample": [], "interpolate": ["frames=2"], "directions": [], "report": [], "prepare-data": [], "plot-stability": [],
    "reconstruct": ["recon_images=2", "recon_steps=1", "batch_size=2"], "train-classifier": ["epochs=0.1", "width=1"],
}  # fmt: skip
"""Words that make a verb's command small; commands of other verbs are parsed."""
ONLY_READ = {
    r"(^| )-m( |$)|sweep=": "sweeps run in tests/sweep",
    r"torchrun|devices=": "launchers run in tests/distributed",
    r"metrics=(fid50k|paper_10k_5k|inception)|metrics\.num_samples": "the Inception weights are a download",
    r"my_|DIR": "parts of the reader's own run in tests/config/test_extension.py and tests/metrics",
    r"celeba|stl10": "large data",
    r"recipe=|bf16|wn_gan|condition": "recipes and conditional nets train in tests of their own",
    r"classes=|truncation=|\.mp4|\.pt2": "needs a conditional or styled generator, or another package",
    r"metric=fid": "the Inception weights are a download",
    r"~/": "a folder of the reader's",
    r"seeds=0-99": "many",
    r"icons": "guides/icons.md runs in tests/use/test_icons_page.py",
}
ELSEWHERE = ("make", "pip", "docker", "ls", "cp")  # what these do is tested by using them


def commands() -> list[tuple[str, str]]:
    """(document, command) of every line of every shell block, each command once."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        language = None
        for line in document.read_text().splitlines():
            if line.startswith("```"):
                language = line[3:].strip() if language is None else None
            elif language in ("", "bash", "console", "sh") and line.strip():
                command = " ".join(re.split(r"\s#", line)[0].split())
                if "..." not in command and not re.search(r"\b(VERB|KEY|HOST)\b", command):
                    found.setdefault(command, str(document.relative_to(REPOSITORY)))
    return [(document, command) for command, document in found.items()]


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_data, tiny_cifar):
    """A folder with what the commands name: runs, photos, samples, and packed data."""
    folder = tmp_path_factory.mktemp("world")
    data = folder / "data"
    for packed in (tiny_data / "shapes", tiny_cifar / "cifar10"):
        shutil.copytree(packed, data / packed.name)
    pack(data / "faces", faces.render(32, 5), name="faces", class_names=faces.CLASS_NAMES, test=8)
    for name in ("photos", "samples"):
        (folder / name).mkdir()
        for i in range(4):
            noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / name / f"{i}.png")
    words = ["metrics.num_samples=16", "metrics.num_real=16", "trainer.total_steps=2", "monitor=full",
             "monitor.every_steps=1", "trainer.log_every_steps=1", f"data_dir={data}"]  # fmt: skip
    small = [word for word in TINY if not word.startswith(("metrics", "trainer.total"))]
    for name in ("mine", "a", "norms/x"):
        gan_lab.train(compose(*small, *words, f"hydra.run.dir={folder}/runs/{name}"))
    for copy in ("b", "first", "compare/x"):
        shutil.copytree(folder / "runs/a", folder / "runs" / copy)
    return folder


def reason_to_read_only(command: str) -> bool:
    return any(re.search(pattern, command) for pattern in ONLY_READ)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("document", "command"), commands(), ids=lambda text: text[:70])
def test_a_command_of_the_documents(document, command, world, tmp_path, monkeypatch):
    words = shlex.split(command)
    assert words[0] in ("python", "gan-lab", "torchrun", *ELSEWHERE), f"{document}: unknown command {command}"
    if words[0] in ELSEWHERE:
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        return
    monkeypatch.chdir(world)
    monkeypatch.setenv("GAN_LAB_DATA", str(world / "data"))
    monkeypatch.setattr("sys.argv", ["train.py"])
    logging.disable(logging.INFO)
    if "train.py" in words:
        return train(words[words.index("train.py") + 1 :], command, tmp_path)
    if words[:2] == ["python", "-m"] and words[2] in SCRIPTS:
        return parse(options_of(words[2]), words[3:]) if words[3:] != ["--help"] else None
    verb, *rest = words[1:] if words[0] == "gan-lab" else words[3:]
    assert verb in (*VERBS, "--help"), f"{document}: unknown command {command}"
    if "--help" in (verb, *rest):
        assert main([verb, *rest]) == 0
    elif verb not in SMALLER or reason_to_read_only(command):
        parse(import_module(f"gan_lab.cli.{verb.replace('-', '_')}").Options, rest)
    else:
        rest = [f"out={tmp_path}/{word.removeprefix('out=')}" if word.startswith("out=") else word for word in rest]
        assert main([verb, *rest, *SMALLER[verb]]) == 0


def train(words: list[str], command: str, folder: Path) -> None:
    """Run a command of train.py, or compose and check it where it is too much for a test."""
    if "--help" in words:
        assert main(["train", *words]) == 0
    elif not reason_to_read_only(command) and not any(word.startswith(("-", "run=", "config=")) for word in words):
        run = gan_lab.train(compose(*words, *TINY, f"hydra.run.dir={folder}/run", "name=null"))
        assert (run / "summary.json").is_file()
    elif not any(word.startswith("--config-dir") or "my_" in word for word in words):
        preflight([word for word in words if not word.startswith("trainer.devices")])


def test_the_documents_commands_are_found():
    found = [command for _, command in commands()]
    assert {"gan-lab report runs/norms", "python -m scripts.torture kills=20", "make train"} <= set(found)
    for verb in VERBS:
        assert verb == "train" or any(command.startswith(f"gan-lab {verb}") for command in found), verb
    run = [c for c in found if c.split()[0] not in ELSEWHERE and not reason_to_read_only(c)]
    assert len(found) > 60 and len(run) > 25
