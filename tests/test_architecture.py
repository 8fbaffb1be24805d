"""The walks of docs/architecture.md are what runs, and calls go down the rooms as imports do."""

import os
import re
import sys
from collections import defaultdict

import pytest

from gan_lab.cli.train import train_command
from gan_lab.reporting.write import write_report
from tests.test_imports import FLOOR, PACKAGE

HOME = f"{PACKAGE}{os.sep}"
DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"
HANDED_DOWN = {
    ("distributed/collectives.py", "training/"): "what one process decides for all",
    ("kernels/prefetch.py", "metrics/evaluator.py"): "what draws the images of an evaluation",
    ("kernels/threads.py", "metrics/evaluator.py"): "what passes images through the backbone",
    ("config/instantiate.py", ""): "what a configuration names is made",
    ("distributed/memory.py", "training/out_of_memory.py"): "the work whose memory is traced",
    ("experiment.py", "diagnostics/collapse.py"): "the state of a part",
    ("metrics/evaluator.py", "training/evaluation.py"): "the draw of images, before which a signal can stop it",
}
"""Calls from a lower room to a higher one, and of what."""


def walks():
    """(caller, callee) of every nested entry, and the entries at the left margin."""
    found, above = [], {}
    for indent, entry in re.findall(r"^( *)- `(\S+\.py:\S+)`$", DOCUMENT.read_text(), re.MULTILINE):
        depth = len(indent) // 4
        above[depth] = entry
        found.append((above[depth - 1] if depth else None, entry))
    return found


class Calls:
    """Every call within the package: which functions ran while which others did, and which went up the rooms."""

    def __init__(self):
        self.stack, self.within, self.up = [], defaultdict(set), set()
        self.wanted = {entry for walk in walks() for entry in walk}

    def __call__(self, frame, event, argument):
        path = frame.f_code.co_filename
        if event not in ("call", "return") or not path.startswith(HOME):
            return
        if event == "return":
            self.stack and self.stack.pop()
            return
        file = path[len(HOME) :].replace(os.sep, "/")
        name = f"{file}:{frame.f_code.co_qualname}"
        if name in self.wanted:
            for outer in self.stack:
                self.within[outer].add(name)
        caller = self.stack[-1].partition(":")[0] if self.stack else file
        if not name.endswith(">") and not file.endswith("__init__.py") and floor(file) > floor(caller):
            self.up.add((caller, file))
        self.stack.append(name)


def floor(file):
    return FLOOR.get(file.partition("/")[0].removesuffix(".py"), len(FLOOR))


@pytest.fixture(scope="module")
def calls(tmp_path_factory, tiny_data):
    run = tmp_path_factory.mktemp("walk") / "run"
    words = ["norm=bssn", "loss=hinge", "penalty=r1", "penalty.r1.interval=1", "width=0.0625", "trainer.total_steps=1",
             "trainer.n_dis=1", "trainer.batch_size=8", "trainer.device=cpu", "metrics.num_samples=64",
             f"data_dir={tiny_data}", f"hydra.run.dir={run}"]  # fmt: skip
    seen, argv = Calls(), sys.argv
    sys.setprofile(seen)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)  # one core: one thread is traced
            train_command(words)
        write_report([run], run / "report")
    finally:
        sys.setprofile(None)
        sys.argv = argv
    return seen


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_line_of_a_walk_is_called_within_the_one_above_it(calls):
    assert len(walks()) > 40
    missing = [(outer, inner) for outer, inner in walks() if outer and inner not in calls.within[outer]]
    assert missing == []


@pytest.mark.parametrize(("outer", "inner"), [walk for walk in walks() if walk[0]])
def test_no_walk_goes_up(outer, inner):
    files = outer.partition(":")[0], inner.partition(":")[0]
    assert floor(files[1]) <= floor(files[0]) or "prefetch" in outer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_calls_go_up_only_where_a_function_was_handed_down(calls):
    def reason(caller, callee):
        return next(
            (why for (low, high), why in HANDED_DOWN.items() if caller == low and callee.startswith(high)), None
        )

    assert {pair: reason(*pair) for pair in calls.up if reason(*pair) is None} == {}
