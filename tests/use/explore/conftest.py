"""An explorer of two small runs: one evaluated, one conditional."""

import shutil
import threading

import pytest

from gan_lab.use.explore.server import serve
from tests.training.short_runs import CONDITIONAL, evaluated_run, run


@pytest.fixture(scope="session")
def folder(tmp_path_factory, tiny_data):
    """Two runs, not to be changed."""
    place = tmp_path_factory.mktemp("explored")
    evaluated_run(place / "plain", tiny_data)
    run(place / "classes", tiny_data, *CONDITIONAL)
    return place


@pytest.fixture
def server(folder, tmp_path):
    """A server of a copy of these runs, in a thread; `server.folder` is the copy."""
    shutil.copytree(folder, tmp_path / "runs")
    made = serve([tmp_path / "runs"], port=0, device="cpu")
    made.folder = tmp_path / "runs"
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()
