"""Memory: how much is free, how much a piece of work takes, and errors that say that there was too little."""

import sys
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Return how much memory this process can still take: the least that any limit leaves. None if that is unknown.

    Beyond it Linux kills the process, or one of its neighbours, without a word. Limits are the machine's memory and
    swap, those of the process's control groups (a container, a Slurm job), and `ulimit -v`.
    """
    if not sys.platform.startswith("linux"):
        return None
    found = [_free_on_machine(), _free_in_address_space(), *(_free_in_group(*group) for group in _groups())]
    return min((free for free in found if free is not None), default=None)


def _fields(path: Path) -> dict[str, int]:
    """Read lines "key value" or "key: value kB" as bytes; {} if the file cannot be read."""
    try:
        rows = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
        numbers = [row for row in rows if len(row) > 1 and row[1].isdigit()]
        return {row[0]: int(row[1]) * (1024 if row[-1] == "kB" else 1) for row in numbers}
    except OSError:
        return {}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _free_on_machine() -> int | None:
    fields = _fields(_PROC / "meminfo")
    return fields["MemAvailable"] + fields.get("SwapFree", 0) if "MemAvailable" in fields else None


def _free_in_address_space() -> int | None:
    try:
        lines = (_PROC / "self/limits").read_text().splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith("Max address space")), [])
    used = _fields(_PROC / "self/status").get("VmSize")
    return int(words[3]) - used if used is not None and len(words) > 3 and words[3].isdigit() else None


def _groups() -> Iterator[tuple[Path, str, str, str]]:
    """Yield the process's memory groups and their parents: folder, and the names of limit, use and droppable use."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        while root in (folder, *folder.parents):
            yield folder, *names
            folder = folder.parent


def _free_in_group(folder: Path, limit: str, usage: str, droppable: str) -> int | None:
    most, used = _number(folder / limit), _number(folder / usage)
    if most is None or used is None:
        return None
    return most - used + _fields(folder / "memory.stat").get(droppable, 0)


_RAN_OUT = (
    "can't allocate memory",
    "bad_alloc",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",  # of cuDNN and cuBLAS
    "unable to find an engine to execute this computation",  # each engine of cuDNN failed, for want of workspace
)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that the memory of the device, or of the machine, is used up."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in _RAN_OUT)


def fits(work: Callable[[], object]) -> bool:
    """Do the work, and return whether the memory held it. Other errors are raised."""
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        return False
    return True


def release(error: BaseException) -> None:
    """Free the tensors that the frames of a failed step still hold: its graph is most of what was allocated."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Allocations(TorchDispatchMode):
    """Record the tensors that are made in a block, in order, and when they are freed.

    What kernels allocate for themselves is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []  # bytes of each tensor that was made
        self.events: list[int] = []  # i when the i-th was made, ~i when it was freed
        self._known: set[int] = set()  # addresses of what is alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._see(tensor, made=False)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._see(tensor, made=True)
        return result

    def _see(self, tensor: Tensor, made: bool) -> None:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address == 0 or address in self._known:
            return
        self._known.add(address)
        index = None
        if made:
            index = len(self.sizes)
            self.sizes.append(storage.nbytes())
            self.events.append(index)
        weakref.finalize(storage, self._freed, address, index).atexit = False

    def _freed(self, address: int, index: int | None) -> None:
        self._known.discard(address)
        if index is not None:
            self.events.append(~index)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


class Need:
    """Predict the most bytes of tensors that work with n samples holds at a time.

    `prepare(n)` returns the work to be done, which is done with `few` samples and with twice as many: work on half of
    a batch, such as the path length, would not grow with one more. Each tensor's size is a linear function of n, but
    the most that is held is not: with many samples it is activations, with few it may be an optimizer's step. So the
    sizes are extrapolated, and the allocations are gone through again.
    """

    def __init__(self, prepare: Callable[[int], Callable[[], object]], few: int = 2) -> None:
        runs = []
        for n in (few, 2 * few):
            work = prepare(n)
            with Allocations() as found:
                work()
            runs.append((np.array(found.sizes, float), np.array(found.events, int)))
        (self._low, _), (self._high, self._events) = runs
        self._few = few
        if self._low.shape != self._high.shape:  # kernels may be others for another n: sizes tell what grows
            self._low = _shrunk(self._high, Counter(self._low))

    def __call__(self, n: int) -> float:
        sizes = self._low + (self._high - self._low) * (n / self._few - 1)
        signed = np.where(self._events < 0, -1.0, 1.0) * sizes[np.where(self._events < 0, ~self._events, self._events)]
        return float(np.cumsum(signed).max(initial=0.0))


def _shrunk(sizes: NDArray[np.float64], constant: Counter[float]) -> NDArray[np.float64]:
    """Return the sizes with half of the samples: those that were seen there too stay, the others are halved."""
    shrunk = sizes.copy()
    for i, size in enumerate(sizes):
        if constant[size]:
            constant[size] -= 1
        else:
            shrunk[i] = size / 2
    return shrunk


def largest_halving(n: int, fits: Callable[[int], bool]) -> int:
    """Return the first of n, n // 2, n // 4, ... that fits; 0 if none does."""
    while n and not fits(n):
        n //= 2
    return n


def gigabytes(size: float) -> str:
    """Format as 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
