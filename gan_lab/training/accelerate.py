"""How an update of D or G is run: as it is written, as a CUDA graph, or with compiled nets.

A CUDA graph records every kernel of a whole update once (forward, backward, penalties that differentiate twice,
optimizer, power iteration) and launches them together from then on, which pays where the GPU would otherwise wait for
Python. A graph repeats addresses and constants, so whatever changes between updates is written into tensors that it
reads: the reals, learning rates, penalties' weights, and the generator's seed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.builder import Experiment
from gan_lab.distributed import collectives
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.schedules import value
from gan_lab.training.step import Log, copy_all_, d_step, due, g_step

log = logging.getLogger(__name__)

EAGER_BEFORE_CAPTURE = 3  # updates, so that libraries have chosen their kernels and allocated what they keep
AGREEMENT = 0.1  # how far a graph's update may be from the eager one, as a part of its length: rounding, not a mistake

Key = tuple[str, *tuple[str, ...]]  # the side, and the penalties that are due
_SUSPECTS = {"d": ("D", "G"), "g": ("G", "D")}  # the net that an update trains comes first


def _step(side: str) -> Callable[..., Log]:
    return d_step if side == "d" else g_step


@dataclass
class _Graph:
    """An update of one side with one set of due penalties."""

    warm: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    names: list[str] = field(default_factory=list)
    numbers: Tensor | None = None  # what the update logs, in the order of `names`
    gradients: list[tuple[nn.Parameter, Tensor | None]] = field(default_factory=list)  # where a replay leaves them


class Updates:
    """The updates of an experiment, run in the way that `trainer.accelerate` asks for.

    `auto` is `graph` where that is possible without changing anything but speed, and else `none`, which is also the
    fastest that was measured on CPUs (docs/performance.md). What cannot be had is said once, and training goes on
    without it. A graph is used only after its update agreed with the eager one on the same state.
    """

    def __init__(self, x: Experiment, mode: str = "none") -> None:
        self.x, self.graphs = x, {}  # type: Experiment, dict[Key, _Graph]
        obstacle = None
        if mode in ("auto", "graph"):
            obstacle = no_graph(x, trusting=mode == "graph")
        if obstacle and mode == "graph":
            log.warning("trainer.accelerate=graph: %s; training without graphs", obstacle)
        self.graphed = mode in ("auto", "graph") and obstacle is None
        self.compiled: dict[str, nn.Module] = {"G": x.G, "D": x.D} if mode == "compile" else {}
        self.proven: set[Key] = set()
        self.generators: list[Any] = [torch, torch.cuda] if x.device.type == "cuda" else [torch]
        for net in self.compiled.values():
            net.compile()
        if self.graphed:
            self._allocate()

    def d(self, real: Tensor, index: int, images_seen: float) -> Log:
        """`step.d_step`."""
        return self._run("d", real, index, images_seen)

    def g(self, real: Tensor, index: int, images_seen: float) -> Log:
        """`step.g_step`."""
        return self._run("g", real, index, images_seen)

    def _run(self, side: str, real: Tensor, index: int, images_seen: float) -> Log:
        key: Key = (side, *due(self.x, side, index))
        if not self.graphed:
            return self._plain(key, lambda: _step(side)(self.x, real, index, images_seen))
        self._fill(real, images_seen)
        found = self.graphs.setdefault(key, _Graph())
        if found.graph is None and found.warm < EAGER_BEFORE_CAPTURE:
            found.warm += 1
            return self._beside(lambda: self._eager(side, index))
        if found.graph is None:
            return self._record(found, side, index)
        assert found.numbers is not None
        found.graph.replay()
        for p, gradient in found.gradients:  # each graph has its own; whoever reads `.grad` wants this update's
            p.grad = gradient
        return dict(zip(found.names, found.numbers.clone().unbind(), strict=True))

    def _plain(self, key: Key, work: Callable[[], Log]) -> Log:
        """The update as it is written, with compiled nets where it can be done with them.

        torch's compiled nets cannot be differentiated twice, among other things. The first update of a kind shows
        it, and changes nothing then: it is done again with the net's own code.
        """
        for name in [name for name in _SUSPECTS[key[0]] if key not in self.proven and name in self.compiled]:
            random = [(generator, generator.get_rng_state()) for generator in self.generators]
            try:
                logged = work()
                self.proven.add(key)
                return logged
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                log.warning("trainer.accelerate=compile: %s cannot be compiled for this update (%s); training it as it "
                            "is written", name, str(error).splitlines()[0])  # fmt: skip
                self.compiled.pop(name)._compiled_call_impl = None
                for generator, state in random:
                    generator.set_rng_state(state)
        return work()

    def _allocate(self) -> None:
        x = self.x
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(x.device)
        self.real: Tensor | None = None
        self.rates = {s: torch.zeros((), device=x.device) for s in ("d", "g")}
        self.weights = {name: torch.zeros((), device=x.device) for name in x.penalties}

    def _fill(self, real: Tensor, images_seen: float) -> None:
        """Write what this update depends on to where graphs read it."""
        if self.real is None:
            self.real = real.detach().clone()
        self.real.copy_(real)
        for side, optimizer in (("d", self.x.optimizer_d), ("g", self.x.optimizer_g)):
            self.rates[side].fill_(optimizer.param_groups[0]["lr"])
            if isinstance(optimizer, AnnealedAdam):
                optimizer.fill_betas()
        for name, penalty in self.x.penalties.items():
            self.weights[name].fill_(value(penalty.weight, images_seen))

    def _eager(self, side: str, index: int) -> Log:
        """The update as it is written, on the same tensors that graphs read: the same bits, resumed or not."""
        assert self.real is not None
        optimizer = self.x.optimizer_d if side == "d" else self.x.optimizer_g
        with _tensor_lr(optimizer, self.rates[side]):
            return _step(side)(self.x, self.real, index, float("nan"), self.weights)

    def _beside(self, work: Callable[[], Log]) -> Log:
        """Run on the stream that graphs are captured on."""
        self.stream.wait_stream(torch.cuda.current_stream(self.x.device))
        with torch.cuda.stream(self.stream):
            found = work()
        torch.cuda.current_stream(self.x.device).wait_stream(self.stream)
        return found

    def _record(self, found: _Graph, side: str, index: int) -> Log:
        """An eager update, after which the graph of it is captured and compared with it on the state before."""
        x = self.x
        weights, others = changing(x)
        state, after = [*weights, *others], None
        stream = torch.cuda.current_stream(x.device)
        try:
            before, random = [t.clone() for t in state], torch.cuda.get_rng_state(x.device)
        except torch.OutOfMemoryError:  # the eager update may still fit
            self._give_up(side, "memory is too short to compare it with the eager one")
            return self._beside(lambda: self._eager(side, index))
        logged = self._beside(lambda: self._eager(side, index))
        try:
            after = [t.clone() for t in state]
            copy_all_(state, before)
            self._capture(found, side, index)
            torch.cuda.set_rng_state(random, x.device)
            assert found.graph is not None
            found.graph.replay()
            n = len(weights)
            off = max(apart(state[:n], after[:n], before[:n]), apart(state[n:], after[n:], before[n:]))
            if not off <= AGREEMENT:
                self._give_up(side, f"it is {off:.2g} of an update away from the eager one")
        except Exception as error:  # whatever is in the way of a capture, too little memory included
            leave_capture(x.device, stream, self.pool)
            torch.cuda.set_rng_state(random, x.device)
            cause = first_error(error)
            self._give_up(side, (str(cause).splitlines() or [type(cause).__name__])[0])
        if after is not None:
            copy_all_(state, after)
        return logged

    def _give_up(self, side: str, reason: str) -> None:
        log.warning("trainer.accelerate: no CUDA graph of the update of %s (%s); training without graphs",
                    side.upper(), reason)  # fmt: skip
        self.drop_graphs()

    def drop_graphs(self) -> None:
        """Train without graphs from now on, and free what they hold."""
        self.graphed, self.graphs = False, {}

    def _capture(self, found: _Graph, side: str, index: int) -> None:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            logged = self._eager(side, index)
            found.names, found.numbers = list(logged), torch.stack([v.float() for v in logged.values()])
        net = self.x.D if side == "d" else self.x.G
        found.gradients = [(p, p.grad) for p in net.parameters() if p.requires_grad]
        found.graph = graph


def no_graph(x: Experiment, *, trusting: bool) -> str | None:
    """Why updates cannot be CUDA graphs; None if nothing is known to be in the way.

    Code of extensions may keep numbers in Python, which a graph would freeze: only a `trusting` caller captures it.
    """
    if x.device.type != "cuda":
        return "CUDA graphs need a CUDA device"
    if collectives.active():
        return "with several processes ranks wait for each other between kernels"
    if x.config["extensions"] and not trusting:
        return "extensions may keep numbers in Python"
    for side, optimizer, hyper in (("g", x.optimizer_g, x.hyper_g), ("d", x.optimizer_d, x.hyper_d)):
        if not (optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")):
            return f"optimizer.{side} is not one that a graph can record (fused or capturable)"
        if any(callable(beta) for beta in hyper.betas or ()) and not isinstance(optimizer, AnnealedAdam):
            return f"optimizer.{side}.betas have a schedule"
    parts = [x.G, x.D, x.augment, *x.penalties.values()]
    modules = (m for part in parts if isinstance(part, nn.Module) for m in part.modules())
    waiting = next((m for m in modules if getattr(m, "capturable", True) is False), None)
    if waiting is not None:
        return f"{type(waiting).__name__} reads numbers on the host (norm.exact=true does)"
    return None


def leave_capture(device: torch.device, stream: Any, pool: Any) -> None:
    """Undo what a failed capture leaves behind, so that the process can go on training on `stream`.

    `CUDAGraph.capture_end` raises for an invalidated capture before it has told the generator and the allocator, and
    `torch.cuda.graph` then does not put the stream back (torch 2.9 to 2.15). Without this the next `torch.randn` raises
    "Offset increment outside graph capture". Only the allocator's part has no public function.
    """
    torch.cuda.set_stream(stream)
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.default_generators[index].graphsafe_set_state(torch.Generator(device))
    try:
        torch._C._cuda_endAllocateToPool(index, pool)
        torch._C._cuda_releasePool(index, pool)
    except (AttributeError, RuntimeError):  # the capture had ended, or had not begun: nothing is recorded to the pool
        pass


def first_error(error: BaseException) -> BaseException:
    """The error that came first: what ends a capture raises errors of its own, which only tell that it had failed."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


@contextmanager
def _tensor_lr(optimizer: torch.optim.Optimizer, rate: Tensor) -> Iterator[None]:
    """Let the optimizer read its learning rate from `rate`, and take part in a capture if there is one."""
    capturing = torch.cuda.is_current_stream_capturing()
    before = [(group["lr"], group.get("capturable")) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = rate
        if group.get("fused"):
            group["capturable"] = capturing
    try:
        yield
    finally:
        for group, (lr, capturable) in zip(optimizer.param_groups, before, strict=True):
            group["lr"], group["capturable"] = lr, capturable


def changing(x: Experiment) -> tuple[list[Tensor], list[Tensor]]:
    """Every tensor that an update changes: the weights, and buffers with the optimizers' moments and counts."""
    optimizers = (x.optimizer_d, x.optimizer_g)
    moments = [v for o in optimizers for of in o.state.values() for v in of.values() if isinstance(v, Tensor)]
    return [p.detach() for net in (x.G, x.D) for p in net.parameters()], [*x.buffers, *moments]


def apart(a: list[Tensor], b: list[Tensor], before: list[Tensor]) -> float:
    """|a - b| / |b - before|, each list of tensors taken as one vector; 0 where nothing differs."""

    def length(p: list[Tensor], q: list[Tensor]) -> float:
        return sum(float((s.double() - t.double()).square().sum()) for s, t in zip(p, q, strict=True)) ** 0.5

    return length(a, b) / max(length(b, before), 1e-30)
