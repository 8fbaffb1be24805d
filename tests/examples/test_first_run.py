"""The notebook runs from its first cell to its last, and is kept without outputs."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "STEPS, COMPARED_STEPS, SEEDS = 4, 2, 2\n"
    "SMALLER = ['width=0.0625', 'trainer.batch_size=4', 'metrics.num_samples=20', 'metrics.num_real=20',\n"
    "           'metrics.kid=false', 'metrics.precision_recall=false', 'trainer.threads=1']"
)


def notebook():
    return nbformat.read(ROOT / "examples" / "first_run.ipynb", as_version=4)


def test_it_is_valid_and_has_no_outputs():
    read = notebook()
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert len(code) > 5 and not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.slow
def test_it_runs(tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAN_LAB_DATA", str(tiny_data))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    read = notebook()
    (sizes,) = [cell for cell in read.cells if cell.source.startswith("STEPS, ")]
    sizes.source = TINY
    nbclient.NotebookClient(read, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in read.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type == "execute_result"]
    assert "'finished'" in shown[0]["text/plain"] and any("image/png" in data for data in shown)
    assert any("bssn" in data.get("text/markdown", "") for data in shown)
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    assert "step     4   fid_shapes" in printed
    assert (tmp_path / "comparison" / "report.html").is_file() and len(list((tmp_path / "runs").iterdir())) == 5
