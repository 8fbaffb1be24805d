#!/usr/bin/env python3
"""Open TensorBoard on the runs: `python scripts/dashboard.py [runs=runs] [port=6006] [open=true]`."""

import logging
import os
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs in a clone that is not installed

from gan_lab.cli import guarded  # noqa: E402
from gan_lab.cli.options import parse_words, whole_number  # noqa: E402
from gan_lab.errors import UserError  # noqa: E402


def start(folder: Path, port: int) -> str:
    """Serve the runs of a folder in a thread of this process; returns the address.

    UserError for a folder without runs, or a port that cannot be had.
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


def dashboard_command(words: Sequence[str]) -> int:
    """Serve until Ctrl-C, and show the page in a browser if there is one."""
    given = parse_words(words, {"runs": "runs", "port": "6006", "open": "true"})
    folder, port = Path(str(given["runs"])), whole_number("port", given["port"], 1024, 65_535)
    if given["open"] not in ("true", "false"):
        raise UserError(f"open={given['open']}: must be true or false")
    url = start(folder, port)
    print(f"{url}  (the runs in {folder}; Ctrl-C ends it)", flush=True)
    if given["open"] == "true" and _has_screen():
        webbrowser.open(url)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()
    return 0


def _has_screen() -> bool:
    """Whether a browser would have where to show itself; one in this terminal would be in the way."""
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


if __name__ == "__main__":
    sys.exit(guarded(dashboard_command, sys.argv[1:]))
