"""A VAE-GAN (arXiv:1512.09300): D's features say how near a reconstruction is. `python -m examples.vae_gan`"""

import torch
from torch import nn

from gan_lab import losses, norms, penalties
from gan_lab.data import shapes, to_float

Z = 32


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1))
        self.out = nn.Linear(64 * 8 * 8, 1)

    def forward(self, x):  # b 3 32 32 -> b
        return self.out(self.body(x).relu().flatten(1)).squeeze(1)


def encoder():
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 2 * Z),
    )  # fmt: skip


def decoder():
    return nn.Sequential(
        nn.Linear(Z, 64 * 8 * 8), nn.Unflatten(1, (64, 8, 8)), nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def main(steps=2000, batch=64, images=10_000):
    torch.manual_seed(0)
    data = to_float(torch.from_numpy(shapes.render(images, seed=0)[0]).permute(0, 3, 1, 2))  # n 3 32 32, in [-1, 1]
    E, G, D = encoder(), decoder(), norms.apply_weight_norm(Discriminator(), norms.SpectralNorm())
    r1 = penalties.GradientPenalty(at="real", weight=1.0, interval=4)
    opt_g = torch.optim.Adam([*E.parameters(), *G.parameters()], 2e-4, betas=(0.5, 0.99))
    opt_d = torch.optim.Adam(D.parameters(), 2e-4, betas=(0.5, 0.99))
    for step in range(steps):
        x = data[torch.randint(len(data), (batch,))]
        mean, log_var = E(x).chunk(2, 1)  # b z each
        rebuilt, fake = G(mean + torch.randn_like(mean) * (log_var / 2).exp()), G(torch.randn(batch, Z))
        loss_d = losses.hinge_d(D(x), D(torch.cat([rebuilt, fake]).detach())) + r1.term(step, D=D, real=x)
        opt_d.zero_grad(), loss_d.backward(), opt_d.step()
        norms.advance_power_iteration(D)  # once per step of D's optimizer
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1).mean()
        near = (D.body(rebuilt) - D.body(x).detach()).square().mean()
        loss_g = near + 1e-3 * kl + 0.1 * losses.hinge_g(D(torch.cat([rebuilt, fake])))
        opt_g.zero_grad(), loss_g.backward(), opt_g.step()
    return {"d": loss_d.item(), "g": loss_g.item(), "pixels": (rebuilt - x).square().mean().item()}


if __name__ == "__main__":
    print(main())
