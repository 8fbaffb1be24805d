"""`gan_lab.train` in a notebook or a script: it shows what it does, and Ctrl-C ends it with its run directory."""

import json
import logging
import signal

import pytest

import gan_lab
from gan_lab.errors import InterruptedRun
from gan_lab.training import accelerate, interactive
from gan_lab.training.train import train as train_only
from tests.training.short_runs import EVALUATED, PLAIN, state_of

PACKAGE = logging.getLogger("gan_lab")


@pytest.fixture
def unconfigured(monkeypatch):
    """Logging as a new Python has it."""

    def now():  # in the test itself: pytest adds its own handlers after the fixtures
        monkeypatch.setattr(logging.root, "handlers", [])
        monkeypatch.setattr(logging.root, "level", logging.WARNING)

    return now


def settings(folder, data, *words):
    return gan_lab.compose(f"data_dir={data}", f"hydra.run.dir={folder}", *words)


def stopping(monkeypatch, number, at):
    true = accelerate.d_step

    def signalled(exp, real, y):
        if exp.step == at:
            signal.raise_signal(number)
        return true(exp, real, y)

    monkeypatch.setattr(accelerate, "d_step", signalled)


def test_a_stop_saves_and_returns_the_run_which_the_same_call_finishes(tmp_path, tiny_data, monkeypatch):
    cfg, before = settings(tmp_path / "run", tiny_data, *PLAIN), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        stopping(patched, signal.SIGINT, at=2)
        assert gan_lab.train(cfg) == tmp_path / "run"
    assert state_of(tmp_path / "run")["step"] == 3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before
    gan_lab.train(cfg)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(("train", "number"), [(interactive.train, signal.SIGTERM), (train_only, signal.SIGINT)])
def test_other_signals_and_commands_raise(tmp_path, tiny_data, monkeypatch, train, number):
    stopping(monkeypatch, number, at=0)
    with pytest.raises(InterruptedRun) as stopped:
        train(settings(tmp_path / "run", tiny_data, *PLAIN))
    assert stopped.value.exit_status == 128 + number and stopped.value.path == tmp_path / "run"


def test_a_script_without_logging_sees_a_line_an_evaluation(tmp_path, tiny_data, unconfigured, capsys):
    unconfigured()
    gan_lab.train(settings(tmp_path / "run", tiny_data, *EVALUATED))
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if "fid_shapes" in line]
    assert [line.split("  ")[0] for line in lines] == ["step 0", "step 3", "step 6", "step 7"]
    assert "training: shapes 32px" in shown.err and "\r" not in shown.err and shown.out == ""
    assert PACKAGE.handlers == [] and PACKAGE.level == logging.NOTSET


def test_in_a_notebook_a_bar_is_shown_instead_of_lines_of_losses(
    tmp_path, tiny_data, unconfigured, capsys, monkeypatch
):
    unconfigured()
    monkeypatch.setattr("gan_lab.training.progress.shows_bars", lambda: True)
    gan_lab.train(settings(tmp_path / "run", tiny_data, *EVALUATED, "trainer.total_steps=3"))
    shown = capsys.readouterr().err
    assert "3/3" in shown and "step/s" in shown
    assert shown.count("fid_shapes") == 2 and "images/s" not in shown


@pytest.mark.parametrize("level", [logging.ERROR, logging.DEBUG])
def test_a_level_that_the_program_chose_stays(unconfigured, level):
    unconfigured()
    PACKAGE.setLevel(level)
    with interactive.shown():
        assert (PACKAGE.level, PACKAGE.handlers) == (level, [])
    assert PACKAGE.level == level


def test_handlers_of_the_program_get_the_lines(unconfigured):
    unconfigured()
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logging.root.addHandler(handler)
    with interactive.shown():
        logging.getLogger("gan_lab.training").info("hello")
        assert PACKAGE.handlers == []
    logging.getLogger("gan_lab.training").info("not any more")
    assert [record.getMessage() for record in records] == ["hello"]
