"""The functions that the package itself offers, each from where it is written."""

import subprocess
import sys

import pytest

import gan_lab
from gan_lab.config.compose import compose
from gan_lab.reporting import write_report


def test_every_public_name_is_a_function_with_a_docstring():
    assert sorted(gan_lab._HOMES) == sorted(gan_lab.__all__)
    for name in gan_lab.__all__:
        assert callable(getattr(gan_lab, name)) and getattr(gan_lab, name).__doc__
    assert gan_lab.compose is compose and gan_lab.report is write_report
    with pytest.raises(AttributeError, match="module 'gan_lab' has no attribute 'smaple'"):
        gan_lab.smaple  # noqa: B018


def test_reports_need_no_torch():
    code = "import sys, gan_lab\ngan_lab.report, gan_lab.compose\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
