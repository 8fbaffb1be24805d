"""docs/guides/icons.md: its commands, one after the other, make a shared model, a film and a report of a ZIP."""

import io
import json
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_lab
from gan_lab.cli.main import main
from gan_lab.data import shapes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "icons.md").read_text()
SMALLER = {
    "train": [
        "dataset.resolution=32", "trainer.total_steps=2", "trainer.batch_size=4", "trainer.sample_every_steps=0",
        "trainer.threads=1", "trainer.device=cpu", "discriminator.minibatch_std_group=4",
        *(f"{net}.{key}" for net in ("generator", "discriminator") for key in ("channel_base=64", "channel_max=16")),
    ],
    "interpolate": ["frames=2"],
    "evaluate": ["metrics=shapes", "metrics.num_samples=16", "metrics.num_real=16", "metrics.kid=false",
                 "metrics.precision_recall=false"],
}  # fmt: skip
"""Words that make a verb's command small; the last one of equal keys counts."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_from_a_zip_of_icons_to_a_shared_model(tmp_path, monkeypatch, capsys):
    av = pytest.importorskip("av")
    blocks = [block.removeprefix("bash\n").strip() for block in PAGE.split("```")[1::2]]
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(commands) < 10 and commands[0][0] == "pip"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAN_LAB_DATA", raising=False)
    with zipfile.ZipFile("icons.zip", "w") as icons:
        for i, pixels in enumerate(shapes.render(20, seed=0)[0]):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            icons.writestr(f"{i}.png", buffer.getvalue())
    verbs = []
    for words in commands[1:]:
        assert words[:2] == ["python", "train.py"] or words[0] == "gan-lab"
        verb = "train" if words[0] == "python" else words[1]
        verbs.append(verb)
        if verb == "train":
            gan_lab.train(gan_lab.compose(*words[2:], *SMALLER[verb], f"hydra.run.dir={tmp_path / 'runs' / 'icons'}"))
        else:
            assert main([verb, *words[2:], *SMALLER.get(verb, [])]) == 0, capsys.readouterr().err
    assert verbs == ["train", "sample", "interpolate", "evaluate", "export", "sample", "report"]
    with av.open("loop.mp4") as film:
        assert sum(1 for _ in film.decode(video=0)) == 12
    figure = json.loads(Path("runs/icons/metrics.jsonl").read_text().splitlines()[-1])["fid_shapes"]
    assert f"| fid_shapes | {figure:.4g} |" in Path("icons-model/README.md").read_text()
    assert "fid_shapes" in Path("report/report.md").read_text() and Path("report/report.html").is_file()
    theirs, card = (np.asarray(Image.open(file)) for file in ("theirs.png", "icons-model/samples.png"))
    assert np.array_equal(theirs, card) and np.asarray(Image.open("icons.png")).shape == theirs.shape
