"""Freed memory is kept: the same large tensor again causes no page faults."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from gan_lab.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24); torch.ones(2**24)
before = faults()
for _ in range(4):
    torch.ones(2**24)  # 64 MiB: 16,384 pages
print(faults() - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_large_tensors_are_not_mapped_anew():
    assert faults("keep") < 1000 < 4 * 16_384 * 0.5 < faults("default")
