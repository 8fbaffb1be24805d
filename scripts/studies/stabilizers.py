"""Other ways to keep D smooth, beside the study `norms` and in its setting."""

from scripts.studies.norms import STUDY as NORMS
from scripts.studies.study import CLASSIFIER, FID768, Study

STUDY = Study(
    name="stabilizers",
    question="How do SSN, weight normalization, and the relativistic loss with R1 and R2 compare with SN, BSSN, BSN "
    "and no norm after the same number of steps?",
    setting=(*NORMS.setting, "trainer.total_steps=6000"),
    cells={
        "ssn": ("norm=ssn",),
        "wn": ("norm=wn",),
        "r1r2": ("norm=none", "loss=relativistic", "penalty=r1r2"),
    },
    seeds=3,
    seeds_in_turn=True,
    budget="sixteen to thirty minutes of a core a run, three hours in all",
    evaluations=FID768,
    classifier=CLASSIFIER,
    beside=NORMS,
)
