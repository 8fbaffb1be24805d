"""Search for the latents whose images are nearest to given ones."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gan_lab.distributed.device import exact_fp32
from gan_lab.nets import Generator, StyledGenerator

W_DRAWS, STARTS = 1000, 256
NOISE_PEAK, NOISE_END, NOISE_WEIGHT = 0.05, 0.75, 1e5
WARM_UP, COOL_DOWN = 0.05, 0.25
LR = {"z": 0.05, "w": 0.1, "w+": 0.1}

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Inversion:
    """What was found for n images: latents (n z_dim; styles n l w_dim in w and w+) and noise maps (n 1 side side).

    start, images: before and after the search (n c h w). error, start_error: mean squared error in [0, 1] (n).
    """

    latents: Tensor
    noise: tuple[Tensor, ...]
    start: Tensor
    images: Tensor
    start_error: Tensor
    error: Tensor


def squared_errors(images: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over channels and pixels of the squared difference, with pixels in [0, 1]: n c h w -> n."""
    return ((images.clamp(-1, 1) - targets) / 2).square().flatten(1).mean(1)


def roughness(maps: Tensor) -> Tensor:
    """Return how far noise maps (n 1 side side) are from white noise, at sides from their own down to 8: n.

    The squared mean product of neighbours, of each side (arXiv:1912.04958, appendix D).
    """
    total = maps.new_zeros(len(maps))
    while True:
        for dim in (2, 3):
            total = total + (maps * maps.roll(1, dim)).mean((1, 2, 3)).square()
        if maps.shape[2] <= 8:
            return total
        maps = F.avg_pool2d(maps, 2) * 2  # white noise of unit variance stays so


def learning_rate(step: int, steps: int) -> float:
    """Return the factor of the learning rate: up over the first 5 % of the steps, down over the last 25 %."""
    t = step / steps
    down = torch.tensor(min(1.0, (1 - t) / COOL_DOWN), dtype=torch.float32, device="cpu")
    return float(0.5 - 0.5 * torch.cos(torch.pi * down)) * min(1.0, (step + 1) / (WARM_UP * steps))


class Search:
    """The search for `targets` (n c h w, in [-1, 1], on G's device) of classes y (n) in one space of G.

    The loss of an image is its squared error plus `feature_weight` times |f(G) - f(x)|^2 / |f(x)|^2 in the features f,
    which may be None. Adam with betas 0.9, 0.999.

    - "z": starts at the best of STARTS random z.
    - "w", "w+" (arXiv:1912.04958, appendix D; arXiv:1904.03189 for w+, a w of its own for each layer): starts at the
      mean of W_DRAWS w. Normal noise is added to w, of 0.05 times the deviation of w, falling to 0 over the first 75 %
      of the steps. The noise maps are searched for, too: their roughness is penalized, and each is brought to mean 0
      and variance 1 after each step. Deviations: 1,000 draws of w, not 10,000; pixels and our features, not LPIPS.
    """

    def __init__(
        self, G: Generator, targets: Tensor, y: Tensor | None, space: str, features: Features | None,
        feature_weight: float, seed: int,
    ) -> None:  # fmt: skip
        self.G, self.targets, self.y, self.space = G, targets, y, space
        self.features, self.feature_weight = (features, feature_weight) if feature_weight else (None, 0.0)
        self.wanted = None if self.features is None else self.features(targets)
        self.random = torch.Generator("cpu").manual_seed(seed)
        n, sides = len(targets), G.noise_sides
        maps = [self.draw(1, 1, side, side) for side in (sides if G.draws_noise or space != "z" else ())]
        self.noise = tuple(one.expand(n, -1, -1, -1).contiguous() for one in maps)
        self.spread = 0.0
        self.latents = self.best_z() if space == "z" else self.mean_w()

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random, dtype=torch.float32, device="cpu").to(self.targets.device)

    def render(self, latents: Tensor, y: Tensor | None, noise: tuple[Tensor, ...]) -> Tensor:
        settings = {"noise": noise} if noise else {}
        if self.space == "z":
            return self.G(latents, y, **settings)  # type: ignore[no-any-return]
        assert isinstance(self.G, StyledGenerator)
        styles = latents if self.space == "w+" else latents.expand(-1, self.layers, -1)
        return self.G.synthesis(styles, **settings)

    @torch.no_grad()
    def best_z(self) -> Tensor:
        """Return for each target the z (n z_dim) of the smallest squared error, of the same random ones for all."""
        z, n = self.G.from_normal(self.draw(STARTS, self.G.z_dim)), len(self.targets)
        errors = self.targets.new_full((n, STARTS), torch.inf)
        for c in [None] if self.y is None else self.y.unique(dim=0):
            own = torch.arange(n, device=z.device) if c is None else (self.y == c).view(n, -1).all(1).nonzero()[:, 0]
            for part in torch.arange(STARTS, device=z.device).split(8):
                noise = tuple(maps[:1].expand(len(part), -1, -1, -1) for maps in self.noise)
                images = self.render(z[part], None if c is None else c.expand(len(part), *c.shape), noise)
                for i in own.tolist():
                    errors[i, part] = squared_errors(images, self.targets[i : i + 1])
        return z[errors.argmin(1)]

    @torch.no_grad()
    def mean_w(self) -> Tensor:
        """Return the mean style (n 1 w_dim, in w+ n l w_dim) of random z, and note the deviation of w."""
        assert isinstance(self.G, StyledGenerator)
        y = None if self.y is None else self.y[torch.arange(W_DRAWS, device=self.y.device) % len(self.y)]
        styles = self.G.styles(self.G.from_normal(self.draw(W_DRAWS, self.G.z_dim)), y)
        w, self.layers = styles[:, 0], styles.shape[1]
        self.spread = float((w - w.mean(0)).square().sum(1).mean().sqrt())
        return w.mean(0).expand(len(self.targets), self.layers if self.space == "w+" else 1, -1).clone()

    def losses(self, images: Tensor) -> Tensor:
        total = (images - self.targets).div(2).square().flatten(1).mean(1)
        if self.features is not None and self.wanted is not None:
            scale = self.wanted.square().sum(1).clamp_min(1e-12)
            total = total + self.feature_weight * (self.features(images) - self.wanted).square().sum(1) / scale
        return total

    def run(self, steps: int) -> Inversion:
        """Take `steps` steps. The best of the steps without added noise counts, or the start if it is better."""
        latents = self.latents.clone().requires_grad_()
        maps = [one.clone().requires_grad_() for one in self.noise] if self.space != "z" else []
        variables, noise = [latents, *maps], tuple(maps) or self.noise
        optimizer = torch.optim.Adam(variables, lr=LR[self.space])
        with torch.no_grad():
            start = self.render(latents, self.y, noise)
            best, found = self.losses(start), [one.clone() for one in (latents, *noise)]
        for step in range(steps + 1):
            strength = NOISE_PEAK * self.spread * max(0.0, 1 - step / steps / NOISE_END) ** 2
            optimizer.param_groups[0]["lr"] = LR[self.space] * learning_rate(step, steps)
            with torch.enable_grad():
                moved = latents + strength * self.draw(*latents.shape) if strength else latents
                losses = self.losses(self.render(moved, self.y, noise))
                rough = sum((roughness(one).sum() for one in maps), torch.zeros((), device=losses.device))
                optimizer.zero_grad()
                (losses.sum() + NOISE_WEIGHT * rough).backward(inputs=variables)
            if not strength:
                better = losses.detach() < best
                best = torch.where(better, losses.detach(), best)
                for kept, new in zip(found, (latents, *noise), strict=True):
                    kept[better] = new.detach()[better]
            optimizer.step()
            with torch.no_grad():
                for one in maps:
                    one.sub_(one.mean((1, 2, 3), keepdim=True))
                    one.mul_(one.square().mean((1, 2, 3), keepdim=True).clamp_min(1e-12).rsqrt())
        with torch.no_grad():
            images = self.render(found[0], self.y, tuple(found[1:]))
        latent = found[0] if self.space != "w" else found[0].expand(-1, self.layers, -1)
        errors = (squared_errors(x, self.targets) for x in (start, images))
        return Inversion(latent, tuple(found[1:]), start, images, *errors)


def invert(
    G: Generator,
    targets: Tensor,
    y: Tensor | None = None,
    *,
    space: str = "z",
    steps: int = 300,
    features: Features | None = None,
    feature_weight: float = 0.1,
    seed: int = 0,
    batch_size: int = 8,
) -> Inversion:
    """Search for latents of G whose images are nearest to `targets` (n c h w in [-1, 1], classes y). See `Search`.

    G is in evaluation mode with frozen weights. Searches are independent, `batch_size` at once. ValueError for a space
    that is none of z, w and w+, w of a generator without styles, or steps below 1.
    """
    if space not in LR or (space != "z" and not isinstance(G, StyledGenerator)):
        raise ValueError(f"{type(G).__name__} has no space {space}")
    if steps < 1:
        raise ValueError(f"a search takes at least 1 step, not {steps}")
    found = []
    with exact_fp32(targets.device):
        for i in range(0, len(targets), batch_size):
            part = slice(i, i + batch_size)
            classes = None if y is None else y[part]
            found.append(Search(G, targets[part], classes, space, features, feature_weight, seed + i).run(steps))
    noise = tuple(torch.cat(maps) for maps in zip(*(one.noise for one in found), strict=True))
    rest = {key: torch.cat([getattr(one, key) for one in found])
            for key in ("latents", "start", "images", "start_error", "error")}  # fmt: skip
    return Inversion(noise=noise, **rest)
