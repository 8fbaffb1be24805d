"""Run the commands of docs/tutorial.md and write their output and pictures into it.

    python -m scripts.docs.tutorial folder=/tmp/tutorial

The page is its own source. A `bash` block is run; a `text` block behind `<!-- output -->` is replaced by what it
printed, and a picture behind `<!-- picture: FILE -->` by that file of the folder it ran in. An HTML file is
photographed with a headless Chromium.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import option
from gan_lab.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
_PART = re.compile(
    r"```bash\n(?P<command>.*?)\n```"
    r"|<!-- output -->\n```text\n(?P<output>.*?)```"
    r"|<!-- picture: (?P<source>\S+) -->\n!\[[^]]*\]\((?P<picture>\S+)\)",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run the tutorial's commands, and write their output and pictures into docs/tutorial.md."""

    examples: ClassVar[tuple[str, ...]] = ("", "folder=/tmp/tutorial")
    folder: Path | None = option("where to run; what is there already is gone on with", None, shown="a temporary one")


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(executed(PAGE.read_text("utf-8"), folder, pictures=PAGE.parent), "utf-8")


def executed(text: str, folder: Path, words: Sequence[str] = (), pictures: Path | None = None) -> str:
    """Return the page with the output of its commands.

    words: added to each training command. pictures: the page's folder, where its pictures are written; None: they are
    only looked for. UserError if a command fails or a picture's source is missing.
    """
    printed = ""

    def replaced(part: re.Match[str]) -> str:
        nonlocal printed
        if part["command"] is not None:
            printed = "".join(_run(line, folder, words) for line in part["command"].splitlines())
            return part[0]
        if part["output"] is not None:
            return f"<!-- output -->\n```text\n{printed.strip()}\n```"
        _draw(folder / part["source"], pictures / part["picture"] if pictures else None)
        return part[0]

    return _PART.sub(replaced, text)


def _run(line: str, folder: Path, words: Sequence[str]) -> str:
    program, *rest = shlex.split(line, comments=True)
    if program == "python" and rest[0] == "train.py":
        command = [sys.executable, str(ROOT / "train.py"), *rest[1:], *words]
    elif program == "gan-lab":
        command = [sys.executable, "-m", "gan_lab", *rest]
    else:
        command = [program, *rest]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{line}: exit status {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return _shown(done.stdout.replace(f"{folder.resolve()}/", "").replace(str(folder.resolve()), "."))


def _shown(output: str) -> str:
    """Return what a command printed without the time of each line; a long text without its middle."""
    output = re.sub(r"\S+/(?=gan-lab |python )", "", output.replace(f"{ROOT}/", ""))
    lines = [re.sub(r"^\[[-\d]+ [:\d]+\] ", "", line.rstrip()) for line in output.splitlines()]
    if len(lines) > 16:
        lines = [*lines[:5], "...", *lines[-9:]]
    return "\n".join(lines) + "\n"


def _draw(source: Path, target: Path | None) -> None:
    if not source.is_file():
        raise UserError(f"{source} was not written")
    if target is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix != ".html":
        shutil.copyfile(source, target)
        return
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise UserError(f"a picture of {source} needs chromium")
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,1400", f"--screenshot={target}"]
    subprocess.run([chromium, *flags, source.resolve().as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(script("python -m scripts.docs.tutorial", Options, main))
