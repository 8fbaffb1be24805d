"""One rank of a gloo group, for test_diagnostics.py: python diagnostics_rank.py RANK WORLD STORE DATA WORDS..."""

import json
import os
import sys

import torch
from torch import distributed

import gan_lab
from gan_lab.diagnostics.catalogue import Diagnostic
from gan_lab.diagnostics.extra import measure_extra
from gan_lab.diagnostics.measure import Diagnostics


class Means:
    """A diagnostic of one's own."""

    diagnostics = (Diagnostic("mean/real", "mean pixel"), Diagnostic("mean/fake_logits", "mean D(G(z))"))

    def measure(self, batch):
        return {"mean/real": batch.real.mean(), "mean/fake_logits": batch.fake_logits.mean()}


def measured(rank, world, data, words):
    """The full diagnostics of a new experiment, and one's own, on this rank's share of 12 images."""
    nets = ("generator=dcgan", "discriminator=dcgan_plain")
    x = gan_lab.build(gan_lab.compose(f"data_dir={data}", *nets, *words))
    x.extra_diagnostics["means"] = Means()
    real = x.dataset.images("train", range(rank, 12, world)).float() / 127.5 - 1
    return Diagnostics(x, "full", 1, seed=0).measure(1, real) | measure_extra(x, real)


if __name__ == "__main__":
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    values = measured(rank, world, sys.argv[4], sys.argv[5:])
    distributed.destroy_process_group()
    print(json.dumps(values), flush=True)
    os._exit(0)  # a rank may abort in the interpreter's teardown: see gan_lab.cli.train._leave
