"""Suite `peers`: mimicry's code is entered without what it does not use, and a step is one of both sides."""

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace as Suites

import pytest
import torch

from gan_lab.cli.main import run_command
from gan_lab.errors import UserError
from scripts.benchmarks import peers
from scripts.benchmarks.__main__ import SUITES, Options, run
from scripts.benchmarks.harness import Bench, Row
from scripts.studies.study import REPOSITORY

NEEDS_MORE = "import a_package_that_nobody_has\n"
FAKE = {
    "__init__.py": NEEDS_MORE,
    "training/__init__.py": NEEDS_MORE,
    "training/metric_log.py": """
        class MetricLog:
            def add_metric(self, name, value):
                print(name, float(value))
        """,
    "nets/__init__.py": "",
    "nets/sngan.py": """
        import torch
        from torch import nn

        class SNGANGenerator32(nn.Linear):
            def __init__(self):
                super().__init__(2, 2)

            def train_step(self, real_batch, netD, optG, log_data, device):
                assert isinstance(netD, SNGANDiscriminator32)
                assert torch.is_autocast_enabled("cpu")
                log_data.add_metric("G", len(real_batch[0]))
                optG.step()

        class SNGANDiscriminator32(SNGANGenerator32):
            def train_step(self, real_batch, netG, optD, log_data, device):
                assert isinstance(netG, SNGANGenerator32)
                log_data.add_metric("D", len(real_batch[0]))
                optD.step()
        """,
}
MEASURED = """
    import torch
    torch.set_num_threads(1)
    from scripts.benchmarks import peers
    from scripts.benchmarks.harness import Bench
    for often, work in peers.theirs(Bench(), "bf16", 3):
        print(often, end=" ")
        work()
    """


def test_a_step_of_mimicry_is_five_updates_of_d_and_one_of_g_by_its_own_code(tmp_path):
    for name, text in FAKE.items():
        path = tmp_path / "torch_mimicry" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    words = [sys.executable, "-c", textwrap.dedent(MEASURED)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("5 D 3.0\n1 G 3.0\n", 0), done.stderr


def test_without_mimicry_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch_mimicry", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps torch-mimicry"):
        peers.suite(Bench())


OURS = [name for name in SUITES if name != "peers"]


@pytest.mark.parametrize(
    ("words", "measured"),
    [([], OURS), (["suite=peers,norm"], ["peers", "norm"]), (["suite=peers,all"], ["peers", *OURS])],
)
def test_all_suites_are_those_that_need_no_code_of_others(words, measured, tmp_path, monkeypatch):
    made_up = Suites(suite=rows, recipes_suite=rows)
    monkeypatch.setitem(run.__globals__, "import_module", lambda name: made_up)  # other tests run the module anew
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "performance.json"
    run_command("benchmarks", Options, run, [*words, f"out={file}"])
    assert list(json.loads(file.read_text())["suites"]) == measured and len(SUITES) > 10


def rows(bench):
    return [Row("case", "variant", facts={"figure": 1})]
