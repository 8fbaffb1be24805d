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
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.distributed import collectives
from gan_lab.distributed.memory import ran_out
from gan_lab.distributed.randomness import step_randomness
from gan_lab.errors import useful_line
from gan_lab.experiment import Experiment
from gan_lab.kernels.adam import AnnealedAdam
from gan_lab.training.ahead import FakesAhead
from gan_lab.training.optimize import Log, copy_all_
from gan_lab.training.step import d_step, g_step

log = logging.getLogger(__name__)

EAGER_BEFORE_CAPTURE = 3  # updates, so that libraries have chosen their kernels and allocated what they keep
AGREEMENT = 0.1  # how far a graph's update may be from the eager one, as a part of its length: rounding, not a mistake

Key = tuple[str, *tuple[str, ...]]  # the side, and the penalties that are due
_SUSPECTS = {"d": ("D", "G"), "g": ("G", "D")}  # the net that an update trains comes first


def _step(exp: Experiment, side: str, real: Tensor, y: Tensor | None = None) -> Log:
    if side == "g":
        return g_step(exp, real, y)
    return d_step(exp, *exp.reals_of_d(real, y))


@dataclass
class _Graph:
    """An update of one side with one set of due penalties."""

    warm: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    names: list[str] = field(default_factory=list)
    numbers: Tensor | None = None  # what the update logs, in the order of `names`
    gradients: list[tuple[nn.Parameter, Tensor | None]] = field(default_factory=list)  # where a replay leaves them


@lru_cache
def _capture_stream(device: torch.device) -> Any:
    """The stream on which graphs are captured: one for all runs, as torch keeps a workspace for each stream."""
    return torch.cuda.Stream(device)


class Updates:
    """The updates of an experiment, run in the way that `trainer.accelerate` asks for.

    `auto` is `graph` where that is possible without changing anything but speed, and else `none`, with `FakesAhead`
    where a CPU has an idle core; `compile` was slower on CPUs (docs/performance.md). What cannot be had is said once,
    and training goes on without it. A graph is used only after its update agreed with the eager one on the same state.
    """

    def __init__(self, exp: Experiment, mode: str = "none") -> None:
        self.exp = exp
        self.graphs: dict[Key, _Graph] = {}
        obstacle = None
        if mode in ("auto", "graph"):
            obstacle = no_graph(exp, trusting=mode == "graph")
        if obstacle and mode == "graph":
            log.warning("trainer.accelerate=graph: %s; training without graphs", obstacle)
        self.graphed = mode in ("auto", "graph") and obstacle is None
        self.compiled: dict[str, nn.Module] = {"G": exp.G, "D": exp.D} if mode == "compile" else {}
        self.proven: set[Key] = set()
        self.ahead = exp.ahead = FakesAhead(exp) if mode == "auto" and FakesAhead.fits(exp) else None
        for net in self.compiled.values():
            net.compile()
        if self.graphed:
            # Memory of one pool is reused from graph to graph, and D's gradients must outlive the update of G.
            self.pools = {side: torch.cuda.graph_pool_handle() for side in "dg"}
            self.stream = _capture_stream(exp.device)
            self.inputs: list[Tensor] | None = None  # the reals, and their classes if there are any

    def run(self, side: str, real: Tensor, y: Tensor | None = None) -> Log:
        """One update of D ("d") or of G ("g") on its own random numbers: `d_step` or `g_step`."""
        exp = self.exp
        update = exp.substep if side == "d" else exp.config.trainer.n_dis
        if self.ahead is not None and update == exp.config.trainer.n_dis - 1:
            self.ahead.draw(len(real))
        with step_randomness(exp.config.seed, exp.step, update, exp.device):
            return self._run(side, real, y)

    def _run(self, side: str, real: Tensor, y: Tensor | None) -> Log:
        key: Key = (side, *self.exp.active_penalties(side))
        if not self.graphed:
            return self._plain(key, lambda: _step(self.exp, side, real, y))
        self._fill([real] if y is None else [real, y])
        found = self.graphs.setdefault(key, _Graph())
        if found.graph is None and found.warm < EAGER_BEFORE_CAPTURE:
            found.warm += 1
            return self._beside(lambda: self._eager(side))
        if found.graph is None:
            return self._record(found, side)
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
        gpus = [self.exp.device] if self.exp.device.type == "cuda" else []
        for name in [name for name in _SUSPECTS[key[0]] if key not in self.proven and name in self.compiled]:
            random = torch.get_rng_state(), [torch.cuda.get_rng_state(gpu) for gpu in gpus]
            try:
                logged = work()
                self.proven.add(key)
                return logged
            except RuntimeError as error:
                if ran_out(error):
                    raise
                log.warning("trainer.accelerate=compile: %s cannot be compiled for this update (%s); training it as it "
                            "is written", name, useful_line(error))  # fmt: skip
                self.compiled.pop(name)._compiled_call_impl = None
                torch.set_rng_state(random[0])
                for gpu, state in zip(gpus, random[1], strict=True):
                    torch.cuda.set_rng_state(state, gpu)
        return work()

    def _fill(self, inputs: list[Tensor]) -> None:
        """Write this update's images and classes to where graphs read them; the clock has written the rest."""
        if self.inputs is None:
            self.inputs = [t.detach().clone() for t in inputs]
        copy_all_(self.inputs, inputs)

    def _eager(self, side: str) -> Log:
        """The update as it is written, on the same tensors that graphs read: the same bits, resumed or not."""
        assert self.inputs is not None
        return _step(self.exp, side, *self.inputs)

    def _beside(self, work: Callable[[], Log]) -> Log:
        """Run on the stream that graphs are captured on."""
        self.stream.wait_stream(torch.cuda.current_stream(self.exp.device))
        with torch.cuda.stream(self.stream):
            found = work()
        torch.cuda.current_stream(self.exp.device).wait_stream(self.stream)
        return found

    def _record(self, found: _Graph, side: str) -> Log:
        """An eager update, after which the graph of it is captured and compared with it on the state before."""
        exp = self.exp
        weights, others = changing(exp)
        state, after = [*weights, *others], None
        stream = torch.cuda.current_stream(exp.device)
        try:
            before, random = [t.clone() for t in state], torch.cuda.get_rng_state(exp.device)
        except torch.OutOfMemoryError:  # the eager update may still fit
            self._give_up(side, "memory is too short to compare it with the eager one")
            return self._beside(lambda: self._eager(side))
        logged = self._beside(lambda: self._eager(side))
        try:
            after = [t.clone() for t in state]
            copy_all_(state, before)
            self._capture(found, side)
            torch.cuda.set_rng_state(random, exp.device)
            assert found.graph is not None
            found.graph.replay()
            n = len(weights)
            off = max(apart(state[:n], after[:n], before[:n]), apart(state[n:], after[n:], before[n:]))
            if not off <= AGREEMENT:
                self._give_up(side, f"it is {off:.2g} of an update away from the eager one")
        except Exception as error:  # whatever is in the way of a capture, too little memory included
            leave_capture(exp.device, stream, self.pools[side])
            torch.cuda.set_rng_state(random, exp.device)
            self._give_up(side, useful_line(first_error(error)))
        if after is not None:
            copy_all_(state, after)
        return logged

    def _give_up(self, side: str, reason: str) -> None:
        log.warning("trainer.accelerate: no CUDA graph of the update of %s (%s); training without graphs",
                    side.upper(), reason)  # fmt: skip
        self.drop_graphs()

    def drop_graphs(self) -> None:
        """Train without graphs or images made ahead from now on, and free what they hold."""
        self.graphed, self.graphs = False, {}
        self.ahead = self.exp.ahead = None

    def _capture(self, found: _Graph, side: str) -> None:
        graph = torch.cuda.CUDAGraph()
        optimizer = self.exp.optimizer_d if side == "d" else self.exp.optimizer_g
        how: Any = {"pool": self.pools[side], "stream": self.stream, "capture_error_mode": "thread_local"}
        with _capturable(optimizer), torch.cuda.graph(graph, **how):
            logged = self._eager(side)
            found.names, found.numbers = list(logged), torch.stack([v.float() for v in logged.values()])
        net = self.exp.D if side == "d" else self.exp.G
        found.gradients = [(p, p.grad) for p in net.parameters() if p.requires_grad]
        found.graph = graph


def no_graph(exp: Experiment, *, trusting: bool) -> str | None:
    """Why updates cannot be CUDA graphs; None if nothing is known to be in the way.

    Code of extensions may keep numbers in Python, which a graph would freeze: only a `trusting` caller captures it.
    """
    if exp.device.type != "cuda":
        return "CUDA graphs need a CUDA device"
    if collectives.active():
        return "with several processes ranks wait for each other between kernels"
    if exp.config.extensions and not trusting:
        return "extensions may keep numbers in Python"
    both = (("g", exp.optimizer_g, exp.schedules.g), ("d", exp.optimizer_d, exp.schedules.d))
    for side, optimizer, schedules in both:
        if not (optimizer.defaults.get("fused") or optimizer.defaults.get("capturable")):
            return f"optimizer.{side} is not one that a graph can record (fused or capturable)"
        if any(callable(beta) for beta in schedules.betas or ()) and not isinstance(optimizer, AnnealedAdam):
            return f"optimizer.{side}.betas have a schedule"
    parts = [exp.G, exp.D, exp.augment, *exp.penalties.values()]
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
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let a fused optimizer take part in a capture; outside of one it would warn that there is none."""
    for group in optimizer.param_groups:
        if group.get("fused"):
            group["capturable"] = True
    try:
        yield
    finally:
        for group in optimizer.param_groups:
            if group.get("fused"):
                group["capturable"] = False


def changing(exp: Experiment) -> tuple[list[Tensor], list[Tensor]]:
    """Every tensor that an update changes: the weights, and buffers with the optimizers' moments and counts."""
    optimizers = (exp.optimizer_d, exp.optimizer_g)
    moments = [v for o in optimizers for of in o.state.values() for v in of.values() if isinstance(v, Tensor)]
    return [p.detach() for net in (exp.G, exp.D) for p in net.parameters()], [*exp.buffers, *moments]


def apart(a: list[Tensor], b: list[Tensor], before: list[Tensor]) -> float:
    """|a - b| / |b - before|, each list of tensors taken as one vector; 0 where nothing differs."""

    def length(p: list[Tensor], q: list[Tensor]) -> float:
        return sum(float((s.double() - t.double()).square().sum()) for s, t in zip(p, q, strict=True)) ** 0.5

    return length(a, b) / max(length(b, before), 1e-30)
