"""SN against BSSN and no norm, the claim of arXiv:2009.02773, at a size that one core can train."""

from scripts.studies.study import CLASSIFIER, FID768, FIGURES_4_AND_5, QUARTER_WIDTH, Study

STUDY = Study(
    name="norms",
    question="Does the score of spectral normalization decay as training goes on, does that of BSSN not, and does BSSN "
    "end better, as its authors report on CIFAR-10?",
    setting=(*QUARTER_WIDTH, "width=0.125", "trainer.total_steps=10000"),
    cells={"sn": ("norm=sn",), "bsn": ("norm=bsn",), "none": ("norm=none",), "bssn": ("norm=bssn",)},
    seeds=3,
    seeds_in_turn=True,  # so that the first four runs already compare the four cells
    budget="a core with AVX-512, about half an hour a run",
    note="The nets have an eighth of the authors' width and train for 10,000 of their 400,000 steps, so nothing here "
    "speaks of a decay late in training. BSN is BSSN at the scale 1, which was chosen by seed 0 of the study "
    "`bssn_scale`. One of BSN's three seeds was thus used to choose its scale: the run `scale-1.0-0` there is the "
    "first 1,500 steps of `bsn-0` (all figures of the one row that is kept of both, of step 1,000, agree to the last "
    "digit). Likewise `scale-1.0-1` is `bsn-1`, and `scale-1.4-0` and `scale-1.4-1` are `bssn-0` and `bssn-1`, so "
    "these are no further seeds. SN has no scale to choose. At BSSN's default scale of 1.4 (cell `bssn`) D told reals "
    "and fakes apart within 700 steps with two of three seeds, and G then stood still: for two to three thousand steps "
    "with one, for 7,000 with the other. The machine was shared: images/s and wall time compare nothing.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    curves={"is_cifar10": "inception score by the classifier's logits, higher is better", **FIGURES_4_AND_5},
    pictures={"norms.webp": "Seed 0 of the cells `sn`, `bssn`, `bsn` and `none` at step 10,000, from left to right."},
)
