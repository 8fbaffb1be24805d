"""Other ways to keep D smooth, beside the study `quarter_width` and in its setting."""

from scripts.studies.norms import STUDY as NORMS
from scripts.studies.quarter_width import STUDY as QUARTER_WIDTH
from scripts.studies.stabilizers import STUDY as STABILIZERS
from scripts.studies.study import CLASSIFIER, FID768, Study

STUDY = Study(
    name="quarter_width_stabilizers",
    question="How do SSN, BSN, weight normalization, and the relativistic loss with R1 and R2 compare with SN, BSSN "
    "and no norm after the same number of steps, at twice the width of `stabilizers`?",
    setting=(*QUARTER_WIDTH.setting, "trainer.total_steps=16000"),  # 15,000 is none of the steps of quarter_width
    cells={**STABILIZERS.cells, "bsn": NORMS.cells["bsn"]},
    seeds=3,
    seeds_in_turn=True,
    budget="a core with AVX-512, about half an hour a run if nothing shares it, and ten minutes to measure it",
    note="The nets have a quarter of the authors' width and train for 16,000 steps; nothing was tuned for any cell. A "
    "run of `quarter_width` is the same at step 16,000 as one that ends there, since nothing depends on the length; it "
    "went on to step 30,000. By Inception only these four cells compare, as the others were measured at their end. "
    "SSN is SN at the scale 1.4, BSN is BSSN at the scale 1. The machine was shared: images/s "
    "and wall time compare nothing.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    beside=(QUARTER_WIDTH,),
)
