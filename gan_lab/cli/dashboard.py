"""`gan-lab dashboard`: show runs in TensorBoard."""

import logging
import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.cli.options import option
from gan_lab.config.ranges import whole
from gan_lab.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show the runs of a folder in TensorBoard until Ctrl-C, and open the page in a browser if there is one."""

    examples = ("", "runs=runs/norms port=6007 open=false")
    runs: Path = option("the folder of the runs", Path("runs"))
    port: int = option("of the page on this machine", 6006, whole(1024, 65_535))
    open: bool = option("open the page in a browser, if there is a screen", True)


def run(options: Options) -> None:
    """Serve until Ctrl-C."""
    url = start(options.runs, options.port)
    show(url, f"the runs in {options.runs}; Ctrl-C ends it", options.open, threading.Event().wait)


def show(url: str, note: str, in_browser: bool, wait: Callable[[], Any]) -> None:
    """Print where a page is, open it in a browser if that is wanted and there is a screen, and wait until Ctrl-C."""
    print(f"{url}  ({note})", flush=True)
    if in_browser and has_screen():
        webbrowser.open(url)
    try:
        wait()
    except KeyboardInterrupt:
        print()


def start(folder: Path, port: int) -> str:
    """Serve the runs of a folder in a thread of this process. Returns the URL.

    UserError if the folder holds no runs, or the port is not free.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; train something first, or name one with runs=")
    if next(folder.rglob("events.out.tfevents.*"), None) is None:
        raise UserError(f"{folder} holds no TensorBoard files, so no runs; name another folder with runs=")
    from tensorboard import program

    for chatty in (None, "tensorboard", "werkzeug"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    board = program.TensorBoard()
    board.configure((None, "--logdir", str(folder), "--port", str(port), "--samples_per_plugin", "images=200"))
    try:
        return str(board.launch())
    except program.TensorBoardServerException as error:
        raise UserError(
            f"port {port} cannot be used, perhaps another dashboard is there; choose port={port + 1}"
        ) from error


def has_screen() -> bool:
    """Return whether a graphical browser can open; one inside this terminal would be in the way."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
