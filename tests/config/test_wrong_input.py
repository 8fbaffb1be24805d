"""Wrong commands: each gets one sentence that names the key, and exit status 2, before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from gan_lab.cli import train as cli
from gan_lab.config.compose import compose
from gan_lab.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]

# (words of the command, what the sentence must contain)
CHECKED_BEFORE_THE_RUN = [
    (["traner.total_steps=5"], ["traner.total_steps", "trainer.total_steps"]),
    (["trainer.totl_steps=5"], ["trainer.totl_steps", "'trainer.total_steps'"]),
    (["metrics=classifier"], ["metrics.weights has no default", "give metrics.weights="]),
    (["norm=bsn2"], ["norm=bsn2", "'bsn'"]),
    (["normm=bssn"], ["normm", "'norm'"]),
    (["dataset=cifar"], ["dataset=cifar", "'cifar10'"]),
    (["penalty=[r1,pathlength]"], ["penalty=pathlength", "'path_length'"]),
    (["trainer.total_steps=abc"], ["trainer.total_steps", "abc"]),
    (["trainer.total_steps=1.5"], ["trainer.total_steps", "1.5"]),
    (["trainer.total_steps=0"], ["trainer.total_steps=0", "at least 1"]),
    (["trainer.total_steps=-3"], ["trainer.total_steps=-3", "at least 1"]),
    (["trainer.total_steps=null"], ["trainer.total_steps"]),
    (["trainer.batch_size=0"], ["trainer.batch_size=0"]),
    (["trainer.n_dis=0"], ["trainer.n_dis=0"]),
    (["trainer.log_every_steps=0"], ["trainer.log_every_steps=0"]),
    (["trainer.eval_every_steps=-1"], ["trainer.eval_every_steps=-1"]),
    (["metrics.seed=-1"], ["metrics.seed=-1", "0 to 2^32-1"]),
    (["metrics.seed=4294967296"], ["metrics.seed=4294967296", "0 to 2^32-1"]),
    (["metrics=inception", "metrics.feature=1024"], ["metrics.feature=1024", "64, 192, 768, 2048 or logits"]),
    (["metrics=inception", "metrics.feature=pool3"], ["metrics.feature='pool3'"]),
    (["metrics.batch_size=0"], ["metrics.batch_size=0"]),
    (["metrics.batch_size=1.5"], ["metrics.batch_size=1.5"]),
    (["metrics.num_samples=1e0"], ["metrics.num_samples=1.0", "at least 2"]),
    (["trainer.log_every_steps=0"], ["trainer.log_every_steps=0"]),
    (["trainer.eval_every_steps=-5"], ["trainer.eval_every_steps=-5"]),
    (["metrics.seed=abc"], ["metrics.seed='abc'", "int"]),
    (["metrics.truncation=0"], ["metrics.truncation=0", "above 0 and at most 1"]),
    (["metrics.truncation=1.5"], ["metrics.truncation=1.5", "above 0 and at most 1"]),
    (["metrics.truncation=null"], ["metrics.truncation=None", "float"]),
    (["metrics.splits=0"], ["metrics.splits=0", "at least 1"]),
    (["metrics.num_real=0"], ["metrics.num_real=0", "at least 1"]),
    (["metrics.real_split=val"], ["metrics.real_split='val'", "train or test"]),
    (["metrics.extra.x._target_=my.X"], ["'metrics.extra' is empty", "+metrics.extra.x._target_=my.X"]),
    (["+metrics.extra.x._target_=os.system"], ["metrics.extra.x._target_='os.system'", "may be named"]),
    (["+metrics.conditional=true"], ["metrics.conditional cannot be set"]),
    (["trainer.precision=bf61"], ["trainer.precision='bf61'", "'bf16'"]),
    (["trainer.precision=tf32", "trainer.device=cpu"], ["tf32 needs a GPU"]),
    (["trainer.precision=tf32", "trainer.device=mps"], ["tf32 needs a GPU"]),
    (["trainer.devices=2", "trainer.device=cuda:1"], ["trainer.device=cuda:1", "use trainer.device=cuda"]),
    (["trainer.devices=2", "trainer.device=xpu"], ["several processes need trainer.device=cuda or cpu"]),
    (["trainer.device=gpu"], ["trainer.device='gpu'", "cuda"]),
    (["trainer.devices=5"], ["trainer.devices=5", "batch_size"]),
    (["trainer.devices=0"], ["trainer.devices=0"]),
    (["norm=bssn", "norm.scale=abc"], ["norm.scale='abc'", "float"]),
    (["norm=bssn", "norm.scael=2"], ["norm.scael", "'norm.scale'"]),
    (["norm=none", "norm.scale=2"], ["norm.scale", "norm=none"]),
    (["norm=bssn", "norm.bidirectional=perhaps"], ["norm.bidirectional='perhaps'", "bool"]),
    (["loss=hing"], ["loss=hing", "'hinge'"]),
    (["penalty.r1r2.weight=-1"], ["penalty.r1r2.weight=-1"]),
    (["penalty.r1r2.wieght=1"], ["penalty.r1r2.wieght", "'penalty.r1r2.weight'"]),
    (["penalty.r3.weight=1"], ["penalty.r3"]),
    (["optimizer.g.lr=0"], ["optimizer.g.lr=0", "above 0"]),
    (["optimizer.g.lr=fast"], ["optimizer.g.lr='fast'"]),
    (["optimizer.g.lr=nan"], ["optimizer.g.lr=nan"]),
    (["optimizer.d.betas=[0.5]"], ["optimizer.d.betas=[0.5]"]),
    (["optimizer.d.betas=[0.5,1.5]"], ["optimizer.d.betas=[0.5, 1.5]"]),
    (["+trainer.total_step=5"], ["'trainer.total_step'", "'trainer.total_steps'"]),
    (["++trainer.colour=red"], ["unknown key 'trainer.colour'", "'trainer' has: accelerate"]),
    (["+sed=3"], ["unknown key 'sed'", "'seed'"]),
    (["+notes={a: 1}"], ["unknown key 'notes'"]),
    (["+notes='a b'"], ["unknown key 'notes'"]),
    (["+notes=${seed}"], ["unknown key 'notes'"]),
    (["+trainer.notes=nan"], ["unknown key 'trainer.notes'"]),
    (["optimizer.d.momentum=0.5"], ["optimizer.d.momentum", "+optimizer.d.momentum="]),
    (["+optimizer.d.momentum=0.5"], ["optimizer.d.momentum", "does not take 'momentum'"]),
    (["+norm.scael=1.0", "norm=sn"], ["norm.scael", "'scale'"]),
    (["+generator.channels=4"], ["generator.channels", "property of the data"]),
    (["generator._target_=os.system"], ["os.system", "may be named"]),
    (["generator._target_=subprocess.run", "+generator.args=[ls]"], ["subprocess.run", "may be named"]),
    (["loss.g._target_=builtins.eval"], ["builtins.eval", "may be named"]),
    (["generator._target_=torch.hub.load"], ["torch.hub.load", "may be named"]),
    (["generator._target_=gan_lab.nets.SNGANGeneratr"], ["SNGANGeneratr"]),
    (["generator.widht=2"], ["generator.widht", "'generator.width'"]),
    (["generator.resolution=64"], ["generator.resolution", "property of the data"]),
    (["generator.z_dim=many"], ["generator.z_dim='many'", "int"]),
    (["name=../x"], ["name='../x'", "letters"]),
    (["name=" + "n" * 300], ["name=", "100"]),
    (["resume=maybe"], ["resume='maybe'", "auto, force or never"]),
    (["seed=-1"], ["seed=-1"]),
    (["seed=1.5"], ["seed", "1.5"]),
    (["width=0"], ["width=0"]),
    (["ema.halflife_images=-1"], ["ema.halflife_images=-1"]),
    (["ema.halflife=1"], ["ema.halflife", "'ema.halflife_images'"]),
    (["dataset=folder"], ["dataset.path", "folder or ZIP"]),
    (["metrics.num_samples=1"], ["metrics.num_samples=1", "at least 2"]),
    (["metrics=none", "metrics.num_samples=10"], ["metrics.num_samples"]),
    (["bssn"], ["'bssn' is not an override"]),
    (["generator.width=[1"], ["generator.width=[1"]),
    (["-m", "norm=sn,bsssn", "seed=1,2"], ["norm=bsssn", "'bssn'"]),
    (["-m", "norm=sn", "trainer.n_dis=1,0"], ["trainer.n_dis=0"]),
]

# Mistakes that parts find when they are made. The parts that need no data are made before the run begins, too.
FOUND_BY_MAKING_PARTS = [
    (["metrics.truncation=0.7"], ["metrics.truncation=0.7", "DCGANGenerator has no truncation"]),
    (["generator=resnet", "metrics.truncation=0.5"], ["metrics.truncation=0.5", "no truncation"]),
    (["trainer.device=cuda:99"], ["cuda:99"]),
    (["norm=ssn", "norm.scale=-1"], ["norm", "-1"]),
    (["norm.generator=snn"], ["norm.generator=snn", "'sn'"]),
    (["metrics=inception", "metrics.weights=/no/such/weights.pth"], ["/no/such/weights.pth"]),
    (["metrics=classifier", "metrics.weights=/no/such/net.safetensors"], ["/no/such/net.safetensors"]),
    (["penalty=path_length"], ["penalty.path_length", "styles"]),
    (["penalty.r1r2.interval=0"], ["penalty.r1r2", "interval"]),
    (["augment=ada", "augment.target=2"], ["augment", "target"]),
    (["monitor.detection={foo:1}"], ["foo"]),
]
FOUND_BY_BUILDING = [
    *FOUND_BY_MAKING_PARTS,
    (["dataset=folder", "dataset.path=/no/such/folder"], ["/no/such/folder"]),
    (["dataset=packed", "dataset.path=/no/such/folder"], ["/no/such/folder"]),
]


def sentence(text):
    assert "Traceback" not in text
    lines = [line for line in text.strip().splitlines() if line]
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "parts"), CHECKED_BEFORE_THE_RUN, ids=lambda x: " ".join(x)[:60])
def test_checked_before_the_run(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.train_command(words) == 2
    said = sentence(capsys.readouterr().err)
    assert said.startswith("error: ")
    for part in parts:
        assert part in said, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("words", "parts"), FOUND_BY_MAKING_PARTS, ids=lambda x: " ".join(x)[:60])
def test_parts_that_do_not_fit_are_found_before_the_run(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.train_command(words) == 2
    said = sentence(capsys.readouterr().err)
    assert all(part in said for part in parts), said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "parts"), FOUND_BY_BUILDING, ids=lambda x: " ".join(x)[:60])
def test_found_by_building(words, parts, tiny_data):
    from gan_lab import build

    with pytest.raises(UserError) as raised:
        build(compose(f"data_dir={tiny_data}", *words))
    said = sentence(str(raised.value))
    for part in parts:
        assert part in said, said


@pytest.mark.slow
@pytest.mark.parametrize("words", [
    ["norm=bsn2"], pytest.param(["dataset=folder", "dataset.path=/no/such/folder"], marks=pytest.mark.long)
], ids=str)  # fmt: skip
def test_the_program_itself_exits_with_status_2(words, tmp_path):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "train.py", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr
    assert words[-1].split("=")[-1] in done.stdout + done.stderr
