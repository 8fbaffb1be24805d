"""What is free is the least that any limit leaves; what work takes is predicted from less of it."""

import resource
import sys

import pytest
import torch
from torch import nn

from gan_lab.distributed import memory
from gan_lab.distributed.memory import Allocations, Need, free_bytes, gigabytes, largest_halving, ran_out, release

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
GB = 10**9


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(name, text)` writes a file below made-up /proc and /sys/fs/cgroup folders."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(sys, "platform", "linux")

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\nSwapFree: 1000000 kB\n")
    write("proc/self/limits", "Limit  Soft Limit  Hard Limit  Units\nMax address space  unlimited  unlimited  bytes\n")
    write("proc/self/status", "Name: python\nVmSize: 2000000 kB\nVmRSS: 5 kB\n")
    return write


def test_the_machine_and_its_swap(machine):
    assert free_bytes() == 9_000_000 * 1024


def test_a_limit_of_the_address_space(machine):
    machine(
        "proc/self/limits",
        "Max cpu time  unlimited  unlimited  seconds\nMax address space  3048000000  unlimited  bytes",
    )
    assert free_bytes() == 1_000_000_000


@pytest.mark.parametrize(
    ("group", "folder", "names", "no_limit"),
    [
        ("0::/job/step", "cgroup", ("memory.max", "memory.current", "inactive_file"), "max"),
        ("4:cpu,memory:/job/step", "cgroup/memory",
         ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), str(2**63 - 4096)),
    ],
    ids=["version 2", "version 1"],
)  # fmt: skip
@pytest.mark.parametrize("limited", ["job", "job/step", "."])
def test_a_limit_of_a_control_group_or_of_one_above(machine, group, folder, names, no_limit, limited):
    machine("proc/self/cgroup", f"12:pids:/x\n{group}\n")
    for at in (".", "job", "job/step"):
        machine(f"{folder}/{at}/{names[0]}", f"{5 * GB if at == limited else no_limit}\n")
        machine(f"{folder}/{at}/{names[1]}", f"{3 * GB}\n")
        machine(f"{folder}/{at}/memory.stat", f"anon 7\n{names[2]} {GB}\n")
    assert free_bytes() == 3 * GB  # 5 - 3, and 1 of files that can be dropped


def test_files_that_are_missing_or_say_other_things_are_no_limit(machine, tmp_path):
    machine("proc/self/cgroup", "0::/gone\n")
    assert free_bytes() == 9_000_000 * 1024
    for name in ("meminfo", "self/limits", "self/status", "self/cgroup"):
        (tmp_path / "proc" / name).unlink()
    assert free_bytes() is None


def test_other_systems_are_not_known(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert free_bytes() is None


@linux
def test_this_machine_as_another_module_sees_it():
    free = free_bytes()
    assert free is not None and 0 < free < 2**50
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        used = memory._fields(memory._PROC / "self/status")["VmSize"]
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, hard))
        assert 2**25 < free_bytes() <= 2**26
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_allocations_are_those_that_can_be_counted_by_hand():
    x, kept = torch.ones(1000), []
    with Allocations() as found:
        a = x + 1  # 4000 bytes
        b = a.view(10, 100)  # none
        x.mul_(2)  # none
        kept.append(torch.zeros(250, dtype=torch.float64))  # 2000
        del a, b  # now a is freed
        c = x.double()  # 8000
        del c
    assert found.sizes == [4000, 2000, 8000]
    assert found.events == [0, 1, ~0, 2, ~2]


def test_a_need_is_extrapolated_where_another_part_of_the_work_takes_over():
    weights = nn.Linear(100, 100)

    def prepare(n):
        def work():
            activations = [torch.zeros(n, 100) for _ in range(3)]  # 1200 n, all alive
            del activations
            moments = torch.zeros(2, 10_000)  # 80000
            return weights(torch.zeros(1, 100)), moments

        return work

    need = Need(prepare)
    assert need(4) == pytest.approx(80_000 + 800)  # the product's input and result
    assert need(1000) == 1_200_000
    assert need(64) == pytest.approx(80_800)
    assert need(100) == 120_000


def test_where_the_number_of_tensors_differs_what_was_seen_before_does_not_grow():
    def prepare(n):
        return lambda: (
            torch.zeros(777),
            torch.zeros(100 * n),
            torch.zeros(777),
            *(torch.zeros(60) for _ in range(n // 4)),
        )

    need = Need(prepare)  # measured with 2 and 4; the tensor of 60 is new with 4
    assert need(4) == 4 * (2 * 777 + 400 + 60)
    assert need(40) == pytest.approx(4 * (2 * 777 + 4000 + 600))


@pytest.mark.parametrize(
    ("n", "limit", "found"), [(64, 64, 64), (64, 63, 32), (48, 20, 12), (7, 1, 1), (7, 0, 0), (1, 5, 1)]
)
def test_halvings(n, limit, found):
    assert largest_halving(n, lambda k: k <= limit) == found


def test_which_errors_say_that_memory_ran_out():
    assert ran_out(MemoryError()) and ran_out(torch.OutOfMemoryError("x")) and ran_out(RuntimeError("std::bad_alloc"))
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2**55)
    assert ran_out(caught.value)
    for text in (
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "FIND was unable to find an engine to execute this computation",
    ):
        assert ran_out(RuntimeError(text)), text
    assert not ran_out(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not ran_out(RuntimeError("size mismatch")) and not ran_out(ValueError("memory"))


def test_releasing_an_error_frees_what_its_frames_held():
    freed = []

    def fails():
        held = torch.zeros(3)
        torch.utils.weak.weakref.finalize(held, freed.append, 1)
        raise RuntimeError("can't allocate memory")

    try:
        fails()
    except RuntimeError as error:
        assert freed == []
        release(error)
    assert freed == [1]


def test_sizes_in_words():
    assert [gigabytes(size) for size in (5e6, 2.04e9, 1e8)] == ["5 MB", "2.0 GB", "0.1 GB"]
