"""A GAN of one-dimensional signals, such as audio: plucked strings of 256 samples. `python -m examples.audio`"""

import math

import torch
from torch import nn

from gan_lab import diagnostics, losses, norms, penalties

LENGTH, Z = 256, 16


def plucked(n):
    """Return n decaying tones of random pitch and phase: n 1 LENGTH, in [-1, 1]."""
    t = torch.arange(LENGTH) / LENGTH
    pitch, phase, decay = 4 + 12 * torch.rand(n, 1), 2 * math.pi * torch.rand(n, 1), 1 + 3 * torch.rand(n, 1)
    return (torch.sin(2 * math.pi * pitch * t + phase) * torch.exp(-decay * t))[:, None]


def generator(width=32):
    return nn.Sequential(
        nn.Linear(Z, 4 * width * 16), nn.Unflatten(1, (4 * width, 16)), nn.ReLU(),
        nn.ConvTranspose1d(4 * width, 2 * width, 8, 4, 2), nn.ReLU(),
        nn.ConvTranspose1d(2 * width, 1, 8, 4, 2), nn.Tanh(),
    )  # fmt: skip


def discriminator(width=32):
    return nn.Sequential(
        nn.Conv1d(1, width, 8, 4, 2), nn.LeakyReLU(0.2), nn.Conv1d(width, 2 * width, 8, 4, 2), nn.LeakyReLU(0.2),
        nn.Flatten(), nn.Linear(2 * width * 16, 1), nn.Flatten(0),
    )  # fmt: skip


def main(steps=3000, batch=64):
    torch.manual_seed(0)
    G = generator()
    D = norms.apply_weight_norm(discriminator(), norms.SpectralNorm(bidirectional=True))
    r1 = penalties.GradientPenalty(at="real", weight=0.1)
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), 2e-4, betas=(0.0, 0.99)) for net in (G, D))
    for step in range(steps):
        real, fake = plucked(batch), G(torch.randn(batch, Z))
        loss_d = losses.nonsaturating_d(D(real), D(fake.detach())) + r1.term(step, D=D, real=real)
        opt_d.zero_grad(), loss_d.backward(), opt_d.step()
        norms.advance_power_iteration(D)  # once per step of D's optimizer
        loss_g = losses.nonsaturating_g(D(fake))
        opt_g.zero_grad(), loss_g.backward(), opt_g.step()
    return {"d": loss_d.item(), "g": loss_g.item(), "sigma_product": diagnostics.sigma_product(D)}


if __name__ == "__main__":
    print(main())
