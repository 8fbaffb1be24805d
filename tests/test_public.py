"""The functions that the package itself offers, each from where it is written."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gan_lab
from gan_lab.config.compose import compose
from gan_lab.reporting import write_report


def test_every_public_name_is_a_function_with_a_docstring():
    assert sorted(gan_lab._HOMES) == sorted(gan_lab.__all__)
    for name in gan_lab.__all__:
        assert callable(getattr(gan_lab, name)) and getattr(gan_lab, name).__doc__
    assert set(gan_lab.__all__) <= set(dir(gan_lab))
    assert gan_lab.compose is compose and gan_lab.report is write_report
    with pytest.raises(AttributeError, match="module 'gan_lab' has no attribute 'smaple'"):
        gan_lab.smaple  # noqa: B018


def test_reports_need_no_torch():
    code = "import sys, gan_lab\ngan_lab.report, gan_lab.compose\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(given, policy):
    code = (
        "import sys, os, gan_lab\nassert 'torch' not in sys.modules\n"  # OpenMP reads it when torch is imported
        "import gan_lab.builder\nprint(os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "true"} | ({"OMP_WAIT_POLICY": given} if given else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [policy]
    shown = [line for line in done.stderr.splitlines() if "OMP_WAIT_POLICY" in line]
    assert all(f"'{policy}'" in line for line in shown)  # what the runtime itself says, where it can


def test_a_type_checker_sees_each_function_from_its_home():
    block = next(node for node in ast.parse(Path(gan_lab.__file__).read_text()).body if isinstance(node, ast.If))
    imported = {n.asname or n.name: f"{i.module}:{n.name}" for i in block.body if isinstance(i, ast.ImportFrom)
                for n in i.names}  # fmt: skip
    imported["report"] = imported.pop("write_report")
    assert ast.unparse(block.body[-1]) == "report = write_report"
    assert ast.unparse(block.test) == "TYPE_CHECKING" and imported == gan_lab._HOMES
    assert [node.name for node in block.orelse] == ["__getattr__"]  # which would let every name pass
