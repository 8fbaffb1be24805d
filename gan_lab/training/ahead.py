"""The images for G's update, made on an idle core of a CPU while D is updated."""

import copy
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import step_randomness
from gan_lab.experiment import Experiment
from gan_lab.kernels.threads import idle_cores
from gan_lab.training.optimize import copy_all_


class FakesAhead:
    """Makes the images for G's update in a second thread, from when G has made those for D.

    They are the numbers that `g_step` would compute. z is drawn with the seed of G's update. The forward works on G's
    weights and on buffers of its own (running statistics), and counts only if z and G's buffers are, when G's update
    comes, what it began with. So an update of D that is undone, or that calls G again, costs time only.
    """

    def __init__(self, exp: Experiment) -> None:
        self.exp = exp
        self.G = copy.deepcopy(exp.G, {id(p): p for p in exp.G.parameters()})
        self.buffers, self.own_buffers = list(exp.G.buffers()), list(self.G.buffers())
        self.threads = ThreadPoolExecutor(1, thread_name_prefix="fakes")
        self.z: Tensor | None = None
        self.future: Future[Tensor] | None = None

    @staticmethod
    def fits(exp: Experiment) -> bool:
        """Whether there is an idle core, and G's forward is a function of z and its buffers that any thread can run."""
        parts = exp.G.modules()
        return (
            exp.device.type == "cpu"
            and idle_cores(exp.device) > 1
            and exp.config.trainer.precision != "bf16"  # autocast keeps its copies of weights for all threads at once
            and not collectives.active()  # whose batch norms wait for each other
            and not exp.G.draws_in_training
            and not exp.config.extensions  # which may do anything
            and not any(parametrize.is_parametrized(part) for part in parts)  # their cache knows no threads
        )

    def draw(self, n: int) -> None:
        """Draw z and classes of n images with the random numbers of G's next update. Call this before D's update."""
        exp = self.exp
        with step_randomness(exp.config.seed, exp.step, exp.config.trainer.n_dis, exp.device):
            self.z, self.y = exp.draw_latents(n, exp.augmented_discriminator(), {})

    @torch.no_grad()
    def start(self) -> None:
        """Begin, once G has made its images for the last update of D before its own: if z has been drawn."""
        if self.z is None:
            return
        copy_all_(self.own_buffers, self.buffers)
        self.before = [buffer.clone() for buffer in self.buffers]
        self.future = self.threads.submit(self.G, self.z, self.y)

    def close(self) -> None:
        """End the thread. The experiment and this object hold each other, so nothing else would before long."""
        self.threads.shutdown(wait=False)
        self.exp.ahead = None

    def take(self, z: Tensor, y: Tensor | None) -> Tensor:
        """G(z, y) with its graph, where it was begun, and else made now."""
        drawn, future, self.z, self.future = self.z, self.future, None, None
        if drawn is None or future is None:
            return self.exp.G(z, y)
        fake = future.result()
        if not (torch.equal(z, drawn) and all(map(torch.equal, self.buffers, self.before))):
            del fake, future  # before others take as much memory
            return self.exp.G(z, y)
        with torch.no_grad():
            copy_all_(self.buffers, self.own_buffers)
        return fake
