"""`gan-lab explore`: look at trained generators in the browser."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.dashboard import show
from gan_lab.cli.options import is_path, option, positional
from gan_lab.config.ranges import whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """Serve a page on this machine until Ctrl-C: choose run, seed and class, move along directions, compare two runs.

    It also shows how training goes on. It needs Flask: pip install flask.
    """

    examples = ("", "runs/a runs/b port=9000 open=false")
    runs: tuple[Path, ...] = positional(
        "RUNS...", "run directories, exported folders, or folders that hold some", is_path, ()
    )
    port: int = option("of the page on this machine; 0: any that is free", 8765, whole(0, 65_535))
    open: bool = option("open the page in a browser, if there is a screen", True)
    device: str = common.device()
    extensions: tuple[str, ...] = option("your own modules that the runs use; their code is executed", ())


def run(options: Options) -> None:
    """Serve until Ctrl-C."""
    from gan_lab.use.explore.server import serve

    server = serve(options.runs or (Path("runs"),), options.port, options.device, options.extensions)
    show(f"http://127.0.0.1:{server.port}/", "Ctrl-C ends it", options.open, server.serve_forever)
