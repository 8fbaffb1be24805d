"""The first four runs on a GPU, whose small files are kept as they are."""

from scripts.studies.study import FIGURES_4_AND_5, Study

STUDY = Study(
    name="h200_first",
    question="Does BSSN's CNN train on a GPU as SN's does, and is either ahead in the first 12,000 steps?",
    setting=(
        "dataset=cifar10", "trainer.total_steps=100000", "optimizer.g.lr=2e-4", "optimizer.d.lr=2e-4",
        "trainer.precision=tf32", "trainer.eval_every_steps=4000", "trainer.checkpoint_every_steps=20000",
        "trainer.sample_every_steps=10000", "trainer.log_every_steps=500", "metrics=inception", "metrics.feature=768",
        "metrics.num_samples=2500", "metrics.num_real=2500", "metrics.batch_size=250", "metrics.kid=false",
        "metrics.precision_recall=false", "monitor=full", "monitor.every_steps=2000", "trainer.threads=2",
    ),
    cells={"sngan_cnn": ("recipe=sngan_cnn",), "bssn_cnn": ("recipe=bssn_cnn",)},
    seeds=2,
    budget="four minutes of one H200, all four runs side by side, without MPS",
    note="Commit fc704c5 with torch 2.11 on one NVIDIA H200. The runs were stopped by a signal at about 12,000 of "
    "100,000 steps, when the machine had to be given back: they show that both recipes train, and rank nothing. "
    "Training images are the first 40,000 of CIFAR-10's 50,000, mirrored at random, which the authors did not do.",
    kept_row=4,
    curves=FIGURES_4_AND_5,
)  # fmt: skip
