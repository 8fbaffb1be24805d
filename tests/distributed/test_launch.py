"""A run of several processes: started by us, by torchrun, by two of its agents; and losing one of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gan_lab
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "trainer.batch_size=8", "trainer.eval_every_steps=0", "trainer.sample_every_steps=0", "trainer.log_every_steps=2",
    "trainer.device=cpu", "width=0.0625", "metrics.num_samples=64", "metrics.num_real=64", "metrics.kid=false",
    "metrics.precision_recall=false", "trainer.threads=1", "monitor=off",
    # Adam divides by the size of a gradient, and some are nothing but rounding (biases before BatchNorm).
    "optimizer.g.eps=1e-3", "optimizer.d.eps=1e-3",
)  # fmt: skip
pytestmark = pytest.mark.slow


def command(folder, data, *words, before=()):
    return [
        sys.executable,
        *before,
        str(ROOT / "train.py"),
        f"data_dir={data}",
        f"hydra.run.dir={folder}",
        *SMALL,
        *words,
    ]


def run(*arguments, **how):
    temporary = arguments[0].parent / "t#1"  # where the processes meet; # would end the path in an address
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    return subprocess.run(command(*arguments, **how), capture_output=True, text=True, timeout=300, env=environment)


def state_of(folder):
    return Checkpoints(folder / "checkpoints", keep=9).latest()["state"]


def distance(a, b):
    """The largest difference between the nets of two runs' last checkpoints."""
    a, b = state_of(a), state_of(b)
    return max(float((a[net][k].double() - b[net][k].double()).abs().max()) for net in ("G", "D") for k in a[net])


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_data):
    folder = tmp_path_factory.mktemp("alone") / "run"
    words = [f"data_dir={tiny_data}", f"hydra.run.dir={folder}", *SMALL, "trainer.total_steps=3"]
    return gan_lab.train(gan_lab.compose(*words))


def test_started_ranks_train_what_one_process_does(tmp_path, tiny_data, alone):
    done = run(tmp_path / "two", tiny_data, "trainer.total_steps=3", "trainer.devices=2")
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stdout and done.stdout.count("finished in") == 1
    assert distance(tmp_path / "two", alone) < 1e-5
    rows, expected = (read_rows(f / "metrics.jsonl") for f in (tmp_path / "two", alone))
    assert [r["step"] for r in rows] == [0, 3]
    assert rows[-1]["fid_shapes"] == pytest.approx(expected[-1]["fid_shapes"], rel=1e-4)
    assert rows[0]["fid_shapes"] == pytest.approx(expected[0]["fid_shapes"], rel=1e-9)


def test_torchrun_writes_one_run_directory(tmp_path, tiny_data, alone):
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    done = run(tmp_path / "two", tiny_data, "trainer.total_steps=3", before=torchrun)
    assert done.returncode == 0, done.stderr
    assert distance(tmp_path / "two", alone) < 1e-5
    assert {p.name for p in tmp_path.iterdir()} == {"two", "t#1"}
    assert len(list((tmp_path / "two").glob("events.out.tfevents.*"))) == 1


@pytest.mark.long
def test_two_agents_on_loopback(tmp_path, tiny_data, alone):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    agents = []
    for node in range(2):
        torchrun = ("-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}",
                    "--master-addr=127.0.0.1", "--master-port=29761")  # fmt: skip
        words = command(tmp_path / "two", tiny_data, "trainer.total_steps=3", before=torchrun)
        agents.append(
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        )
    errors = [agent.communicate(timeout=300)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(errors)
    assert distance(tmp_path / "two", alone) < 1e-5


def started(folder, data, *words):
    """A run in the background, once it has logged a step; with the pids of its other ranks."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command(folder, data, *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    deadline = time.monotonic() + 600
    while not read_rows(folder / "train.jsonl"):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = [int(c) for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
    return process, ranks


# Without schedules over the length of the run, which the test changes.
LONG = ("optimizer=adam", "penalty=r1r2", "trainer.total_steps=4000", "trainer.devices=2",
        "trainer.checkpoint_every_steps=4000")  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("victim", ["other rank", "rank 0"])
def test_a_killed_rank_ends_the_run_within_a_minute_with_a_checkpoint(tmp_path, tiny_data, victim):
    folder = tmp_path / "run"
    process, ranks = started(folder, tiny_data, *LONG)
    assert len(ranks) == 1
    began = time.monotonic()
    os.kill(ranks[0] if victim == "other rank" else process.pid, signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    while victim == "rank 0" and Path(f"/proc/{ranks[0]}").exists():
        assert time.monotonic() - began < 60
        time.sleep(0.1)
    assert (folder / "checkpoints" / "index.json").is_file(), output
    state = state_of(folder)
    assert state["step"] >= 2
    if victim == "other rank":
        assert process.returncode == 1 and "lost another rank" in output and "Traceback" not in output
    total = f"trainer.total_steps={state['step'] + 2}"
    resumed = run(folder, tiny_data, *LONG, total, "resume=force")
    assert resumed.returncode == 0, resumed.stderr
    whole = run(tmp_path / "whole", tiny_data, *LONG, total)
    assert whole.returncode == 0, whole.stderr
    assert distance(folder, tmp_path / "whole") == 0.0


def test_a_signal_stops_all_ranks_with_a_checkpoint(tmp_path, tiny_data):
    process, ranks = started(tmp_path / "run", tiny_data, *LONG)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143, output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "interrupted" and summary["step"] == state_of(tmp_path / "run")["step"]
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


@pytest.mark.long
def test_torchrun_restarts_resume(tmp_path, tiny_data):
    """A rank that dies once is restarted by torchrun, and the run ends as if nothing had happened."""
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv.pop(1)); flag = sys.argv.pop(1)\n"
        "from gan_lab.training import accelerate\n"
        "true = accelerate.g_step\n"
        "def step(exp, real, y):\n"
        "    if exp.step == 5 and os.environ['RANK'] == '1' and not os.path.exists(flag):\n"
        "        open(flag, 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return true(exp, real, y)\n"
        "accelerate.g_step = step\n"
        "from gan_lab.cli.train import train_command\n"
        "sys.exit(train_command(sys.argv[1:]))\n"
    )
    script = tmp_path / "fragile.py"
    script.write_text(code)
    words = command(tmp_path / "run", tiny_data, "trainer.total_steps=8", "trainer.checkpoint_every_steps=3")[2:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--max-restarts=1",
                str(script), str(ROOT), str(tmp_path / "flag"), *words]  # fmt: skip
    done = subprocess.run(
        torchrun, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "flag").exists()
    whole = run(tmp_path / "whole", tiny_data, "trainer.total_steps=8", "trainer.devices=2")
    assert whole.returncode == 0
    assert distance(tmp_path / "run", tmp_path / "whole") == 0.0
    assert [r["step"] for r in read_rows(tmp_path / "run" / "train.jsonl")] == [2, 4, 6, 8]


SCRIPT = """
import sys, time
import gan_lab
from gan_lab.cli.main import guarded
from gan_lab.errors import UserError
from gan_lab.training import accelerate, train
{change}
def main():
    gan_lab.train(gan_lab.compose(*sys.argv[1:]))
    return 0

{last}
"""
GUARDED = "if __name__ == '__main__':\n    sys.exit(guarded(main))"


def run_script(tmp_path, data, change, *words, last=GUARDED):
    """A script of a user's own on two processes. Workers know it as `__mp_main__`."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(change=change, last=last))
    small = command(tmp_path / "run", data, "trainer.total_steps=2", "trainer.devices=2", *words)[2:]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(script), *small], capture_output=True, text=True, timeout=300, env=environment
    )


@pytest.mark.long
def test_others_wait_for_the_first_however_long_it_packs(tmp_path, tiny_data):
    change = (
        "true = train.build\n"
        "def slow(*arguments):\n"
        "    time.sleep(25 if __name__ == '__main__' else 0)\n"
        "    return true(*arguments)\n"
        "train.build = slow\n"
    )
    done = run_script(tmp_path, tiny_data, change, "trainer.rank_timeout_seconds=20")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("where", ["__main__", "__mp_main__"], ids=["the first", "another"])
def test_what_one_process_says_is_told_once(tmp_path, tiny_data, where):
    change = (
        "def refuse(*arguments):\n"
        "    raise UserError('there is a fly in the data')\n"
        f"if __name__ == {where!r}:\n"
        "    train.build = refuse\n"
    )
    done = run_script(tmp_path, tiny_data, change)
    output = done.stdout + done.stderr
    assert output.count("there is a fly in the data") == 1 and "Traceback" not in output
    lost = "lost another rank" in output
    assert (done.returncode, lost) == ((2, False) if where == "__main__" else (1, True)), output


def test_a_script_without_its_guard_is_told_of_it(tmp_path, tiny_data):
    done = run_script(tmp_path, tiny_data, "", last="sys.exit(guarded(main))")
    assert done.returncode == 1 and "ended at once" in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_three_ranks_with_several_updates_of_d_a_moving_strength_and_a_resting_penalty(tmp_path, tiny_data):
    words = ("trainer.total_steps=6", "trainer.batch_size=12", "trainer.n_dis=2", "augment=ada", "penalty=r1",
             "augment.interval=2", "augment.ramp_images=200", "augment.target=0", "penalty.r1.interval=4")  # fmt: skip
    three, one = tmp_path / "three", tmp_path / "one"
    for folder, ranks in ((three, 3), (one, 1)):
        done = run(folder, tiny_data, *words, f"trainer.devices={ranks}")
        assert done.returncode == 0, done.stderr
    assert distance(three, one) < 1e-5
    strengths = [float(state_of(folder)["augment"]["p"]) for folder in (three, one)]
    assert strengths[0] == strengths[1] and 0 < strengths[0] < 1
