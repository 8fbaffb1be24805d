"""SN, BSSN and the other stabilizers at a quarter of the authors' width, for a GPU that is lent for minutes."""

from scripts.studies.norms import STUDY as NORMS
from scripts.studies.stabilizers import STUDY as STABILIZERS
from scripts.studies.study import CLASSIFIER, FID768, QUARTER_WIDTH, Study

_CELLS = {**NORMS.cells, **STABILIZERS.cells}

STUDY = Study(
    name="quarter_width",
    question="Does the score of spectral normalization decay as training goes on, does that of BSSN not, does BSSN end "
    "better, and how do the other stabilizers compare?",
    setting=(*QUARTER_WIDTH, "trainer.total_steps=30000", "trainer.precision=tf32"),
    cells={name: _CELLS[name] for name in ("sn", "bssn", "none", "ssn", "bsn", "wn", "r1r2")},
    seeds=3,
    budget="twelve minutes of an H200 for the steps of all runs, four at once under MPS, by extrapolation from 880 "
    "steps/s together; evaluations and the classifier come on top",
    note="The nets have a quarter of the authors' width and train for 30,000 of their 400,000 steps.",
    evaluations=FID768,
    classifier=CLASSIFIER,
    curves=NORMS.curves,
)
