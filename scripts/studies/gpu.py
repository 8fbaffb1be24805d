"""SN against BSSN at the authors' size (arXiv:2009.02773): what a GPU can say in the minutes it is lent.

    python scripts/studies/gpu.py minutes=9 data_dir=DATA weights=INCEPTION

needs no installation of gan_lab and no network. Runs go one after the other, as side by side they are slower. A run
that does not end in time goes on at the next call, if `out` was kept.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.studies.study import Study

STUDY = Study(
    name="gpu",
    question="Does the FID of spectral normalization rise again as training goes on, does that of BSSN not, and does "
    "BSSN end better, at the width of the authors' CNN?",
    setting=(
        "dataset=cifar10", "dataset.hflip=false", "trainer.total_steps=100000", "optimizer.g.lr=2e-4",
        "optimizer.d.lr=2e-4", "trainer.precision=tf32", "trainer.eval_every_steps=5000",
        "trainer.checkpoint_every_steps=5000", "trainer.sample_every_steps=10000", "trainer.log_every_steps=500",
        "metrics=inception", "metrics.feature=768", "metrics.num_samples=5000", "metrics.num_real=5000",
        "metrics.kid=false", "metrics.precision_recall=false", "monitor=full", "monitor.every_steps=5000",
        "trainer.threads=2",
    ),
    cells={"sn": ("recipe=sngan_cnn",), "bssn": ("recipe=bssn_cnn",)},
    seeds=5,
    budget="about six minutes of an H200 a run, by extrapolation from 300 steps/s",
    note="A quarter of the authors' 400,000 steps.",
    seeds_in_turn=True,
)  # fmt: skip

if __name__ == "__main__":
    from scripts.studies.__main__ import main

    sys.exit(main([STUDY.name, *sys.argv[1:]]))
