"""Checkpoints of small generators of every family, with weights like those of a trained one."""

import torch

from gan_lab.data.moved import description
from gan_lab.runs.checkpoint import Checkpoints
from tests.training.short_runs import build

FAMILIES = {
    "dcgan": ("generator=dcgan", "discriminator=dcgan", "width=0.0625", "generator.init_std=0.2"),
    "dcgan_nearest": (  # the generator of the default run, with convolutions that also double
        "generator=dcgan", "discriminator=dcgan", "width=0.0625", "generator.init_std=0.2",
        "generator.upsampling=nearest", "generator.mapping_layers=2",
    ),
    "sngan_cnn": ("generator=sngan_cnn", "norm.generator=sn", "width=0.0625"),
    "resnet": ("generator=resnet", "discriminator=resnet", "width=0.0625"),
    "resnet_classes": (
        "generator=resnet", "discriminator=resnet", "width=0.0625", "generator.conditional=true",
        "discriminator.condition=projection",
    ),
    "stylegan2": (
        "generator=stylegan2", "discriminator=stylegan2", "norm.generator=equalized_lr", "width=0.03125",
        "generator.w_dim=32", "generator.z_dim=32",
    ),
    "r3gan": ("generator=r3gan", "discriminator=r3gan", "width=0.03"),
    "r3gan_classes": (
        "generator=r3gan", "discriminator=r3gan", "width=0.03", "generator.conditional=true",
        "discriminator.condition=projection",
    ),
    "biggan": (
        "generator=biggan", "discriminator=biggan", "norm.generator=sn", "width=0.0625",
        "discriminator.condition=projection",
    ),
    "wn_gan": ("generator=wn_gan", "discriminator=wn_gan", "norm.generator=wn_strict", "width=0.0625"),
}  # fmt: skip


def checkpoint(folder, data, family):
    """Write a checkpoint of the family's G, whose statistics and weights are no longer those of the start."""
    exp = build(data, *FAMILIES[family])
    torch.manual_seed(1)
    G = exp.G_ema
    with torch.no_grad():
        for parameter in G.parameters():
            parameter += torch.randn_like(parameter) * parameter.std().nan_to_num().clamp_min(0.05) * 0.5
        G.train()
        for _ in range(20):
            G(G.sample_z(16, "cpu"), G.sample_y(16, "cpu"))
    told = description(exp.dataset, bool(G.num_classes))
    content = {"state": exp.state_dict(), "config": exp.config.tree(), "dataset": told}
    folder.mkdir(parents=True, exist_ok=True)
    return Checkpoints(folder / "checkpoints", keep=1).save(content, 0)
