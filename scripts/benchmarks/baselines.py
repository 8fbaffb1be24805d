"""What gan_lab is measured against: the same models in plain PyTorch, written the way users write them today.

Nothing here is clever on purpose. Convolutions run at the size the architecture names, resampling is a layer of its
own, spectral normalization is torch's hook on every layer of D, D sees reals and fakes in two forwards, G builds a
graph that the D step throws away, D stays trainable in the G step, memory is contiguous, images are read one by one
through PIL. Modules carry the names of ours, so `load_state_dict` copies weights across.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import MethodType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import spectral_norm
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from gan_lab.nets.resampling import Resampler
from gan_lab.nets.stylegan2.layers import ModulatedConv2d

_LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class UpBlock(nn.Module):
    """BatchNorm, ReLU, double, 3x3, BatchNorm, ReLU, 3x3; the shortcut doubles and then convolves."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.up = nn.Upsample(scale_factor=2)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_1(self.up(F.relu(self.norm_1(x))))
        h = self.conv_2(F.relu(self.norm_2(h)))
        return h + self.shortcut(self.up(x))


class DownBlock(nn.Module):
    """[ReLU,] 3x3, ReLU, 3x3 [, average]; the shortcut convolves and then averages."""

    def __init__(self, inputs: int, outputs: int, down: bool, first: bool) -> None:
        super().__init__()
        self.down, self.first = down, first
        hidden = outputs if first else inputs
        self.conv_1 = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv_2 = nn.Conv2d(hidden, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if down or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(x)
        h = self.conv_2(F.relu(self.conv_1(h)))
        skip = self.shortcut(x)
        return F.avg_pool2d(h, 2) + F.avg_pool2d(skip, 2) if self.down else h + skip


class ResNetGenerator(nn.Module):
    """The generator of arXiv:1802.05957, table 4, at 32 pixels."""

    def __init__(self, width: int = 256, z_dim: int = 128, channels: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(z_dim, width * 16)
        self.blocks = nn.Sequential(*(UpBlock(width, width) for _ in range(3)))
        self.norm = nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.linear(z).view(len(z), -1, 4, 4)
        return torch.tanh(self.out(F.relu(self.norm(self.blocks(x)))))


class ResNetDiscriminator(nn.Module):
    """The discriminator of arXiv:1802.05957, table 4, at 32 pixels."""

    def __init__(self, width: int = 128, channels: int = 3) -> None:
        super().__init__()
        inputs = [channels, width, width, width]
        self.blocks = nn.Sequential(*(DownBlock(a, width, i < 2, i == 0) for i, a in enumerate(inputs)))
        self.linear = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.relu(self.blocks(x)).sum((2, 3))).squeeze(1)


class CNNGenerator(nn.Module):
    """The generator of arXiv:1802.05957, table 3, at 32 pixels; `width` is that of the last deconvolution."""

    def __init__(self, width: int = 64, z_dim: int = 128, channels: int = 3) -> None:
        super().__init__()
        widths = [8 * width, 4 * width, 2 * width, width]
        self.linear = nn.Linear(z_dim, widths[0] * 16)
        self.norm = nn.BatchNorm2d(widths[0])
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.deconvs = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b in pairs)
        self.out = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = F.relu(self.norm(self.linear(z).view(len(z), -1, 4, 4)))
        for deconv, norm in zip(self.deconvs, self.norms, strict=True):
            x = F.relu(norm(deconv(x)))
        return torch.tanh(self.out(x))


class CNNDiscriminator(nn.Module):
    """The discriminator of arXiv:1802.05957, table 3, at 32 pixels; `width` is that of the first convolution."""

    def __init__(self, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        convs = [nn.Conv2d(channels, width, 3, padding=1)]
        for a in (width, 2 * width, 4 * width):
            convs += [nn.Conv2d(a, a, 4, stride=2, padding=1), nn.Conv2d(a, 2 * a, 3, padding=1)]
        self.convs = nn.ModuleList(convs)
        self.linear = nn.Linear(8 * width * 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
        return self.linear(x.flatten(1)).squeeze(1)


def add_hooks(net: nn.Module) -> nn.Module:
    """torch's spectral_norm on every convolution and Linear."""
    for layer in net.modules():
        if isinstance(layer, _LAYERS):
            spectral_norm(layer, dim=1 if isinstance(layer, nn.ConvTranspose2d) else 0)
    return net


def hooked_weights(layers: Iterable[nn.Module]) -> list[Tensor]:
    """What torch's hooks compute at one forward: the layers' normalized weights, one power iteration further on."""
    weights = []
    for layer in layers:
        for hook in layer._forward_pre_hooks.values():
            hook(layer, None)
            weights.append(layer.weight)
    return weights  # type: ignore[return-value]


class TextbookTrainer:
    """Hinge GAN training: updates of D and of G, with an Adam for each."""

    def __init__(self, G: nn.Module, D: nn.Module, *, z_dim: int, lr: float, betas: tuple[float, float]) -> None:
        self.G, self.D, self.z_dim = G, D, z_dim
        self.optimizer_g = torch.optim.Adam(G.parameters(), lr=lr, betas=betas)
        self.optimizer_d = torch.optim.Adam(D.parameters(), lr=lr, betas=betas)

    def d_step(self, real: Tensor) -> Tensor:
        fake = self.G(torch.randn(len(real), self.z_dim, device=real.device)).detach()
        loss = F.relu(1 - self.D(real)).mean() + F.relu(1 + self.D(fake)).mean()
        self.optimizer_d.zero_grad()
        loss.backward()
        self.optimizer_d.step()
        return loss.detach()

    def g_step(self, real: Tensor) -> Tensor:
        fake = self.G(torch.randn(len(real), self.z_dim, device=real.device))
        loss = -self.D(fake).mean()
        self.optimizer_g.zero_grad()
        loss.backward()
        self.optimizer_g.step()
        return loss.detach()


def weight_per_sample(self: ModulatedConv2d, x: Tensor, w: Tensor, resampler: Resampler) -> Tensor:
    """StyleGAN2's modulated convolution as arXiv:1912.04958 writes it: a weight per sample, one grouped convolution."""
    b, c, height, side = x.shape
    weight = self.weight[None] * self.affine(w)[:, None, :, None, None]  # b o i k k
    if self.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, b * c, height, side)
    if self.up:
        weight = weight.transpose(1, 2).flatten(0, 1)  # b i, o k k
        x = F.conv_transpose2d(x, weight, stride=2, groups=b)
        return resampler.blur(x.reshape(b, -1, *x.shape[2:]), padding=1, gain=4.0)
    x = F.conv2d(x, weight.flatten(0, 1), padding=self.padding, groups=b)
    return x.reshape(b, -1, *x.shape[2:])


def with_weight_per_sample(G: nn.Module) -> nn.Module:
    """G with every modulated convolution in the form above, the same parameters, in place."""
    for module in G.modules():
        if isinstance(module, ModulatedConv2d):  # parametrized ones are of a subclass, which the instance keeps
            module.forward = MethodType(weight_per_sample, module)  # type: ignore[method-assign]
    return G


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images one by one: PIL, random flip, ToTensor, Normalize."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, hflip: bool = True) -> None:
        self.images, self.labels = images, labels  # n h w c, n
        flip: list[Any] = [transforms.RandomHorizontalFlip()] if hflip else []
        middle = (0.5,) * images.shape[3]
        self.transform = transforms.Compose([*flip, transforms.ToTensor(), transforms.Normalize(middle, middle)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def pil_batches(images: np.ndarray, labels: np.ndarray, batch_size: int) -> Iterator[Tensor]:
    """Endless shuffled batches, b c h w in [-1, 1]."""
    loader = DataLoader(PilImages(images, labels), batch_size, shuffle=True, drop_last=True)
    while True:
        for batch, _ in loader:
            yield batch
