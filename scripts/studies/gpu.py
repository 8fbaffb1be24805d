"""SN against BSSN at the authors' size (arXiv:2009.02773): what a GPU can say in the minutes it is lent.

    python scripts/studies/gpu.py minutes=13 data_dir=DATA weights=INCEPTION

needs no installation of gan_lab and no network, and makes the runs one after the other; those in docs/results were six
processes at once. A run that does not end in time goes on at the next call, if `out` was kept.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.studies.study import FIGURES_4_AND_5, Study

STUDY = Study(
    name="gpu",
    question="At the width of the authors' CNN, does BSSN reach a lower FID than spectral normalization, and does that "
    "of spectral normalization rise again?",
    setting=(
        "dataset=cifar10", "dataset.hflip=false", "trainer.total_steps=24000", "optimizer.g.lr=2e-4",
        "optimizer.d.lr=2e-4", "trainer.precision=tf32", "trainer.eval_every_steps=4000",
        "trainer.checkpoint_every_steps=12000", "trainer.sample_every_steps=10000", "trainer.log_every_steps=500",
        "metrics=inception", "metrics.feature=768", "metrics.num_samples=5000", "metrics.num_real=5000",
        "metrics.kid=false", "metrics.precision_recall=false", "monitor=full", "monitor.every_steps=2000",
        "trainer.threads=1",
    ),
    cells={"sn": ("recipe=sngan_cnn",), "bssn": ("recipe=bssn_cnn",)},
    seeds=3,
    budget="seven minutes of one H200, all six runs side by side; alone a run would take about a minute and a half, by "
    "extrapolation from 330 steps/s",
    note="Commit 80d8158 with torch 2.11 on one NVIDIA H200, six processes that shared it by MPS. The time was up at "
    "step 15,300 to 16,900 of 24,000: all six are compared at step 12,000, which is 3 % of the authors' 400,000. "
    "Training images are the first 40,000 of CIFAR-10's 50,000. The learning rate is that of SN-GAN for both, twice "
    "that of BSSN's authors, whose scale is not public (1.4 here). The runs of SN came to one evaluation more, at step "
    "16,000, which compares with nothing.",
    seeds_in_turn=True,
    kept_row=4,
    curves=FIGURES_4_AND_5,
    pictures={"gpu.webp": "Seed 0 of the cells `sn` (left) and `bssn` at step 10,000."},
)  # fmt: skip

if __name__ == "__main__":
    from scripts.studies.__main__ import main

    sys.exit(main([STUDY.name, *sys.argv[1:]]))
