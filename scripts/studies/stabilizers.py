"""Other ways to keep D smooth, under the conditions of the study `norms`."""

from scripts.studies.study import CLASSIFIER, FID768, QUARTER_WIDTH, Study

STUDY = Study(
    name="stabilizers",
    question="How do SSN, BSN, weight normalization, and the relativistic loss with R1 and R2 compare at equal cost?",
    setting=(*QUARTER_WIDTH, "trainer.total_steps=15000"),
    cells={
        "ssn": ("norm=ssn",),
        "bsn": ("norm=bsn",),
        "wn": ("norm=wn",),
        "r1r2": ("norm=none", "loss=relativistic", "penalty=r1r2"),
    },
    seeds=3,
    budget="about half an hour of one core a run, six hours in all",
    note="The nets have a quarter of the width of SN-GAN's CNN.",
    evaluations=FID768,
    classifier=CLASSIFIER,
)
