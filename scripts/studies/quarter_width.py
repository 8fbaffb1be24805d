"""SN, BSSN and the other stabilizers at a quarter of the authors' width, for a GPU that is lent for minutes."""

from scripts.studies.study import CLASSIFIER, FID768, FIGURES_4_AND_5, QUARTER_WIDTH, Study

STUDY = Study(
    name="quarter_width",
    question="Does the score of spectral normalization decay as training goes on, does that of BSSN not, does BSSN end "
    "better, and how do the other stabilizers compare?",
    setting=(*QUARTER_WIDTH, "trainer.total_steps=30000", "trainer.precision=tf32"),
    cells={
        "sn": ("norm=sn",),
        "bssn": ("norm=bssn",),
        "none": ("norm=none",),
        "ssn": ("norm=ssn",),
        "bsn": ("norm=bsn",),
        "wn": ("norm=wn",),
        "r1r2": ("norm=none", "loss=relativistic", "penalty=r1r2"),
    },
    seeds=3,
    budget="twelve minutes of an H200 for the steps of all runs, four at once under MPS, by extrapolation from 880 "
    "steps/s together; evaluations and the classifier come on top",
    note="The nets have a quarter of the authors' width and train for 30,000 of their 400,000 steps.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    curves={"is_cifar10": "inception score by the classifier's logits, higher is better", **FIGURES_4_AND_5},
)
