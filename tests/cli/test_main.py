"""The doors: `gan-lab`, `python -m gan_lab`, the verbs' help, and that the documents' commands fit the options."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from gan_lab.cli.main import VERBS, guarded, main
from gan_lab.cli.options import declared, parse
from gan_lab.errors import DivergedError, UserError

REPOSITORY = Path(__file__).resolve().parents[2]
OURS = [verb for verb in VERBS if verb != "train"]  # those whose options are not Hydra's
SCRIPTS = {
    ".".join(p.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__main__"): p
    for p in sorted((REPOSITORY / "scripts").rglob("*.py"))
    if 'if __name__ == "__main__"' in p.read_text()
}
"""The programs in scripts/ by the name that `python -m` takes, with their files."""


def module_of(verb):
    return import_module(f"gan_lab.cli.{verb.replace('-', '_')}")


def run_python(*words, **settings):
    return subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, **settings
    )


def test_help_lists_every_verb_with_a_line(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for verb, text in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(text)}$", printed, re.MULTILINE)
    assert main([]) == 2 and capsys.readouterr().out == printed


def test_an_unknown_verb_is_told(capsys):
    assert main(["evalute", "run=x"]) == 2
    assert capsys.readouterr().err == "error: gan-lab has no command 'evalute'; did you mean 'evaluate'?\n"


@pytest.mark.parametrize("verb", OURS)
@pytest.mark.parametrize("ask", [["--help"], ["-h"], ["help"], ["run=x", "--help"]], ids=" ".join)
def test_help_of_a_verb_lists_every_option(verb, ask, capsys):
    assert main([verb, *ask]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: gan-lab {verb}")
    for o in declared(module_of(verb).Options):
        start = f"  {o.key} " if o.takes else f"  {o.key}="
        assert sum(line.startswith(start) for line in printed.splitlines()) == 1, o.key
        assert " ".join(o.meaning.split()) in " ".join(printed.split())


@pytest.mark.slow
def test_help_of_every_verb_comes_without_torch():
    """In one process of its own, as this one has imported torch."""
    code = (
        "import sys\nfrom gan_lab.cli.main import VERBS, main\nassert main(['--help']) == 0\n"
        "for verb in VERBS:\n    sys.argv = ['gan-lab', verb, '--help']\n"
        "    try:\n        status = main()\n    except SystemExit as end:\n        status = end.code or 0\n"
        "    assert status == 0, verb\n    assert 'torch' not in sys.modules, verb\n"
    )
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "optimizer: adam" in done.stdout  # train's, Hydra's own


@pytest.mark.parametrize("verb", OURS)
def test_examples_can_be_read(verb):
    options = module_of(verb).Options
    assert options.examples
    for words in options.examples:
        parse(options, shlex.split(words))


def options_of(name):
    module = import_module(".".join(SCRIPTS[name].relative_to(REPOSITORY).with_suffix("").parts))
    return getattr(module, "Options", None) or import_module(f"{name.rpartition('.')[0]}.__main__").Options


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_examples_of_a_script(name, capsys, monkeypatch):
    options = options_of(name)
    for words in options.examples:
        parse(options, shlex.split(words))
    keys = [o.key for o in declared(options)]
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in (name, f"{name}.__main__"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    printed = capsys.readouterr().out
    assert end.value.code == 0 and printed.startswith(f"usage: python -m {name if 'gpu' not in name else ''}")
    assert all(key in printed for key in keys)


def test_every_script_has_a_help():
    assert {"scripts.lint_configs", "scripts.torture", "scripts.benchmarks", "scripts.studies"} <= SCRIPTS.keys()


@pytest.mark.slow
def test_python_dash_m_is_the_same_door():
    done = run_python("-m", "gan_lab", "sample", "run=nowhere")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: no checkpoints found in nowhere: give a run directory or a checkpoint file\n"


def test_the_installed_program_is_main():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["gan-lab"].partition(":")
    assert getattr(import_module(module), function) is main
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["gan_lab"]  # no scripts


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_reader_that_leaves_early_is_no_error(size):
    """Standard output is a pipe that nobody reads, as after `| head`: no traceback, and the status of SIGPIPE."""
    code = f"import sys; from gan_lab.cli.main import guarded; sys.exit(guarded(lambda: print('x' * {size}) or 0))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_is_an_error():
    def fails():
        raise BrokenPipeError("a worker died")

    with pytest.raises(BrokenPipeError, match="a worker died"):
        guarded(fails)


def test_guarded_answers_with_the_errors_status(capsys):
    def fail(error):
        raise error

    assert guarded(lambda: 5) == 5
    assert guarded(lambda: fail(UserError("bad\nword"))) == 2
    assert guarded(lambda: fail(DivergedError("nan"))) == 3
    assert capsys.readouterr().err == "error: bad word\nerror: nan\n"
    assert guarded(lambda: fail(PermissionError(13, "Permission denied", "/a/run"))) == 2
    assert capsys.readouterr().err == "error: /a/run: Permission denied; give another path\n"
    with pytest.raises(PermissionError):  # of no file that could be named
        guarded(lambda: fail(PermissionError(1, "Operation not permitted")))
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)
    long = "/" + "a" * 300
    assert guarded(lambda: len(Path(long).read_bytes())) == 2
    assert capsys.readouterr().err == f"error: {long[:60]}...: File name too long; give a shorter path\n"
    assert guarded(lambda: fail(OSError(28, "No space left on device"))) == 1
    assert capsys.readouterr().err == "error: stdout cannot be written to (No space left on device)\n"
    with pytest.raises(OSError, match="Input/output"):
        guarded(lambda: fail(OSError(5, "Input/output error")))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_a_closed_or_narrow_stdout(tmp_path):
    code = "import sys; from gan_lab.cli.main import guarded; sys.exit(guarded(lambda: print('\\u00e9') or 0))"
    (tmp_path / "p.py").write_text(code)
    words = [sys.executable, str(tmp_path / "p.py")]
    closed = subprocess.run(["sh", "-c", 'exec "$0" "$@" >&-', *words], capture_output=True, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    narrow = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (narrow.returncode, narrow.stdout, narrow.stderr) == (0, "\\xe9\n", "")
