"""What training does to its process, and processes that must agree on what to train."""

import re
import threading

import pytest
import torch

import gan_lab
from gan_lab.config.check import check
from gan_lab.distributed import collectives
from gan_lab.errors import UserError
from gan_lab.training import train as module
from gan_lab.training.train import check_agreement
from tests.training.short_runs import PLAIN, build, run


@pytest.mark.parametrize(
    ("words", "sha256", "highest", "told"),
    [
        ((), None, 0, None),
        (("trainer.device=cuda", "trainer.threads=3"), None, 0, None),  # nothing that the processes do together
        (("trainer.log_every_steps=7",), None, 1, "(trainer.log_every_steps: 7 -> "),
        (("seed=1",), None, 1, "(seed: 1 -> 0)"),
        ((), "0" * 64, 1, "(dataset: sha256 000000000000 -> "),
        ((), None, 2, "(see their messages)"),  # another process differs
    ],
)
def test_processes_agree_or_all_end(tiny_data, monkeypatch, words, sha256, highest, told):
    exp = build(tiny_data)
    first = check(gan_lab.compose(f"data_dir={tiny_data}", *PLAIN, *words)).tree()
    monkeypatch.setattr(collectives, "from_first", lambda mine: (first, sha256 or mine[1]))
    monkeypatch.setattr(collectives, "highest", lambda number: max(number, highest))
    if told is None:
        check_agreement(exp.config, exp)
    else:
        with pytest.raises(UserError, match=f"do not agree on what to train {re.escape(told)}"):
            check_agreement(exp.config, exp)


SHORT = ("trainer.total_steps=2", "trainer.checkpoint_every_steps=0")


def switches():
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.benchmark,
        torch.backends.cuda.matmul.fp32_precision,
        cudnn.conv.fp32_precision,
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_training_leaves_the_switches_and_random_numbers_of_its_process(tmp_path, tiny_data, deterministic):
    try:
        torch.use_deterministic_algorithms(not deterministic)
        torch.manual_seed(5)
        before, threads = switches(), threading.active_count()
        run(tmp_path / "run", tiny_data, *SHORT, f"trainer.deterministic={str(deterministic).lower()}")
        assert switches() == before and threading.active_count() <= threads + 1  # tqdm's monitor
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_the_caller_has_switched_on_does_not_change_the_training(tmp_path, tiny_data):
    weights = []
    for name, context in (
        ("plain", torch.enable_grad()),
        ("no_grad", torch.no_grad()),
        ("inference", torch.inference_mode()),
        ("autocast", torch.autocast("cpu", dtype=torch.bfloat16)),
    ):
        with context:
            folder = run(tmp_path / name, tiny_data, *SHORT)
        state = torch.load(folder / "checkpoints" / "step-00000002.pt", weights_only=True)["state"]
        weights.append([*state["G"].values(), *state["D"].values()])
    for others in weights[1:]:
        assert all(map(torch.equal, weights[0], others))


def test_one_training_at_a_time(tmp_path, tiny_data, monkeypatch):
    """Another thread's is refused while it runs, and may run afterwards."""
    told, true = [], module.run_experiment

    def meanwhile(exp, directory):
        if not told:
            thread = threading.Thread(target=lambda: told.append(refused()))
            thread.start()
            thread.join()
        true(exp, directory)

    def refused():
        with pytest.raises(UserError) as error:
            run(tmp_path / "other", tiny_data, *SHORT)
        return str(error.value)

    monkeypatch.setattr(module, "run_experiment", meanwhile)
    run(tmp_path / "one", tiny_data, *SHORT)
    assert told[0].startswith("another training runs in this process") and not (tmp_path / "other").exists()
    assert (run(tmp_path / "other", tiny_data, *SHORT) / "summary.json").is_file()


def test_another_default_device_is_refused(tmp_path, tiny_data):
    with torch.device("meta"), pytest.raises(UserError, match="and they are torch.float32 and meta: put them back"):
        run(tmp_path / "run", tiny_data, *SHORT)


def test_another_default_dtype_is_refused(tmp_path, tiny_data):
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(UserError, match="and they are torch.float64 and cpu: put them back before"):
            run(tmp_path / "run", tiny_data, *SHORT)
    finally:
        torch.set_default_dtype(torch.float32)
