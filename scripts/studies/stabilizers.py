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
    budget="a core with AVX-512, about twenty minutes a run if nothing shares it",
    note="The nets have an eighth of the authors' width and train for 6,000 steps; nothing was tuned for any cell. A "
    "run of `norms` is the same at step 6,000 as one that ends there, since nothing depends on the length; it went on "
    "to step 10,000. SSN is SN at the scale 1.4: with two of three seeds D told reals and fakes apart by step 800. "
    "With these two the FID at step 2,000 was above that of the untrained G; with the third G had learnt by then. "
    "That SN and no norm differ is read off six runs of `norms`, and does not hold at their end: it is one step of "
    "five. The machine was shared: images/s and wall time compare nothing.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    beside=(NORMS,),
)
