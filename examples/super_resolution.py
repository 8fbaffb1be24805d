"""A super-resolution GAN (after SRGAN, arXiv:1609.04802): 8 px to 32 px. `python -m examples.super_resolution`"""

import torch
import torch.nn.functional as F
from torch import nn

from gan_lab import losses, norms, penalties
from gan_lab.data import shapes, to_float


class Upscaler(nn.Module):
    """Nearest neighbours, and what convolutions add to them."""

    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(width, 3 * 16, 3, 1, 1), nn.PixelShuffle(4),
        )  # fmt: skip

    def forward(self, small):  # b 3 8 8 -> b 3 32 32
        return F.interpolate(small, scale_factor=4) + self.net(small)


class Critic(nn.Module):
    """Sees the large image beside the small one."""

    def __init__(self, width=32):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Flatten(), nn.Linear(2 * width * 64, 1),
        )  # fmt: skip

    def forward(self, image, small):  # b 3 32 32, b 3 8 8 -> b
        return self.net(torch.cat([image, F.interpolate(small, scale_factor=4)], 1)).squeeze(1)


def main(steps=2000, batch=32, images=10_000):
    torch.manual_seed(0)
    data = to_float(torch.from_numpy(shapes.render(images, seed=0)[0]).permute(0, 3, 1, 2))  # n 3 32 32, in [-1, 1]
    G, D = Upscaler(), norms.apply_weight_norm(Critic(), norms.SpectralNorm(bidirectional=True, scale=1.4))
    lecam = penalties.LeCam(weight=0.1)
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), 2e-4, betas=(0.5, 0.99)) for net in (G, D))
    for _ in range(steps):
        large = data[torch.randint(len(data), (batch,))]
        small = F.avg_pool2d(large, 4)
        made = G(small)
        real_logits, fake_logits = D(large, small), D(made.detach(), small)
        loss_d = losses.relativistic_d(real_logits, fake_logits)
        loss_d = loss_d + lecam.term(real_logits=real_logits, fake_logits=fake_logits)
        opt_d.zero_grad(), loss_d.backward(), opt_d.step()
        norms.advance_power_iteration(D)  # once per step of D's optimizer
        loss_g = F.l1_loss(made, large) + 1e-2 * losses.relativistic_g(D(made, small), D(large, small).detach())
        opt_g.zero_grad(), loss_g.backward(), opt_g.step()
    return {"d": loss_d.item(), "g": loss_g.item(), "l1": F.l1_loss(made, large).item()}


if __name__ == "__main__":
    print(main())
